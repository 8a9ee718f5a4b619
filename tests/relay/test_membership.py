import pytest

from dimat_flwr.relay.membership import Claim, MembershipError, SetupError, assign_places


def test_claimed_places_are_kept_and_the_others_filled_in_the_order_given() -> None:
    claims = [Claim(70, -1), Claim(50, 2), Claim(60, -1), Claim(40, 0)]
    assert assign_places(claims, 4) == [40, 70, 50, 60]


def test_two_nodes_cannot_claim_one_place() -> None:
    with pytest.raises(MembershipError, match="nodes 7 and 8 both claim place 1"):
        assign_places([Claim(7, 1), Claim(8, 1)], 2)


def test_a_place_beyond_the_topology_is_refused() -> None:
    with pytest.raises(MembershipError, match="claims place 5, but 2 peers have places 0 to 1"):
        assign_places([Claim(7, 5), Claim(8, 1)], 2)


def test_all_problems_are_reported_at_once_and_a_shared_one_only_once() -> None:
    claims = [Claim(1, 0, "no data"), Claim(2, 1), Claim(3, 2, "no data"), Claim(4, 3, "no GPU")]
    with pytest.raises(SetupError) as caught:
        assign_places(claims, 4)
    assert "peer 0, peer 2: no data" in str(caught.value)
    assert "peer 3: no GPU" in str(caught.value)
