import pytest

from dimat_flwr.relay.membership import Claim, Seating, SetupError, require_no_problem


def seated(claims: list[Claim], peers: int, without: tuple[int, ...] = (), *, by_claim: bool = False) -> dict[int, int]:
    return {place: claim.node for place, claim in Seating.of(claims, peers, without, by_claim=by_claim).taken.items()}


def test_claimed_places_are_kept_and_the_others_filled_in_the_order_given() -> None:
    claims = [Claim(70, -1), Claim(50, 2), Claim(60, -1), Claim(40, 0)]
    assert seated(claims, 4) == {0: 40, 1: 70, 2: 50, 3: 60}


def test_two_nodes_cannot_claim_one_place() -> None:
    seating = Seating.of([Claim(7, 1), Claim(8, 1)], 2)
    assert (seating.taken, seating.empty, seating.is_complete) == ({}, [0], False)
    assert "nodes 7 and 8 both claim place 1" in seating.faults()
    assert "nobody is in place 0" in seating.faults()
    assert Seating.of([Claim(7, 0), Claim(8, 1), Claim(9, 1)], 2, (1,)).is_complete, "nobody needs that place"


def test_a_place_beyond_the_topology_is_nobody_s() -> None:
    seating = Seating.of([Claim(7, 5), Claim(8, 1)], 2)
    assert "node 7 claims place 5, but 2 peers have places 0 to 1" in seating.faults()
    assert "nobody is in place 0" in seating.faults()
    assert Seating.of([Claim(7, 5), Claim(8, 1), Claim(9, 0)], 2).is_complete


def test_who_cannot_take_part_keeps_nobody_out_who_can() -> None:
    claims = [Claim(5, -1, "no data"), Claim(6, -1), Claim(7, 1)]
    assert seated(claims, 2) == {0: 6, 1: 7}
    assert seated(claims, 3) == {0: 6, 1: 7, 2: 5}, "and where it is needed, what is wrong with it comes up"


def test_in_a_run_that_is_gone_on_with_nobody_is_given_a_place_that_he_does_not_claim() -> None:
    seating = Seating.of([Claim(7, -1), Claim(8, 1), Claim(9, 2, "no data")], 3, (2,), by_claim=True)
    assert (list(seating.taken), seating.empty) == ([1], [0])
    assert "node 7 claims no place" in seating.faults()


def test_all_problems_are_reported_at_once_and_a_shared_one_only_once() -> None:
    claims = [Claim(1, 0, "no data"), Claim(2, 1), Claim(3, 2, "no data"), Claim(4, 3, "no GPU")]
    with pytest.raises(SetupError) as caught:
        require_no_problem(claims)
    assert "peer 0, peer 2: no data" in str(caught.value)
    assert "peer 3: no GPU" in str(caught.value)


def test_a_problem_that_differs_by_the_peer_s_number_alone_is_told_once() -> None:
    claims = [Claim(number + 7, number, f"no file models/peer-{number}.safetensors, 99 bytes") for number in range(13)]
    with pytest.raises(SetupError) as caught:
        require_no_problem(claims)
    told = "every peer, each with its own number, such as peer 0: no file models/peer-0.safetensors, 99 bytes"
    assert str(caught.value) == f"nothing was trained. {told}"
    with pytest.raises(SetupError, match="peer 9 and 2 more, each with its own number, such as peer 0: no file"):
        require_no_problem([*claims[:12], Claim(30, 13, "")])
    with pytest.raises(SetupError, match="peer 1, peer 2: 1 of 5 classes"):
        require_no_problem([Claim(1, 1, "1 of 5 classes"), Claim(2, 2, "1 of 5 classes"), Claim(3, 0)])
