"""Peers that leave and come during a run: the rounds go on, and those who are there stay connected."""

import numpy as np
import pytest
from flwr.app import RecordDict

from dimat_flwr.events import Absent, Evaluation, Failure, Joined, Late, PeerEvent, Redrawn, Stamped
from dimat_flwr.relay.dispatch import Dispatcher
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.relay.restoration import Restoration, Standing, find_out
from dimat_flwr.relay.resumption import absences_told, what_was_told
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.turnover import Turnover
from dimat_flwr.topology import Exchange, Mixing, RoundView
from dimat_flwr.topology.torus import Torus
from dimat_flwr.wire.instruction import Instruction
from tests.relay.town import ANYBODY, Life, Mortal, ring
from tests.relay.toy_post import ListRecorder, make_plan


def test_a_ring_of_five_minus_one_is_a_ring_of_four() -> None:
    peers = [Mortal(place, 2 if place == 1 else None) for place in range(5)]
    life = Life(make_plan(5, 8), peers)
    assert life.survivors == [0, 2, 3, 4]
    (redrawn,) = life.recorder.of(Redrawn)
    assert (redrawn.peer, redrawn.event) == (1, Redrawn([1], []))
    assert 3 <= redrawn.round <= 5
    assert life.edges(redrawn.round - 1) == ring(0, 1, 2, 3, 4)
    assert life.edges(redrawn.round) == life.edges(8) == ring(0, 2, 3, 4)
    assert life.plan.parts(life.survivors) == [[0, 2, 3, 4]]
    for place in (0, 2, 3, 4):
        assert [i.round for i in peers[place].seen] == list(range(9))
        assert all(i.row.own + sum(i.row.sources.values()) == pytest.approx(1) for i in peers[place].seen)
        late = [i for i in peers[place].seen if i.round >= redrawn.round]
        assert all(not i.absent and len(i.row.sources) == 2 for i in late)
    assert {s.event.reader for s in life.recorder.of(Absent)} == {0, 2}, "until then its neighbours went without it"


def test_two_peers_leave_and_one_new_one_joins() -> None:
    peers = [Mortal(place, {1: 2, 3: 3}.get(place)) for place in range(5)]
    newcomer = Mortal(3)
    life = Life(make_plan(5, 20), peers, [(9.0, 200, newcomer)])
    assert life.survivors == [0, 2, 3, 4]
    (joined,) = life.recorder.of(Joined)
    assert joined.peer == 3
    first, last = newcomer.seen[0], newcomer.seen[-1]
    assert (first.joins, first.round, first.exchange) == (True, joined.round, "merge")
    assert set(first.row.sources) <= {0, 2, 4}
    assert [i.joins for i in newcomer.seen[1:]] == [False] * (20 - first.round)
    assert last.round == 20
    assert life.edges(20) == ring(0, 2, 3, 4)
    assert life.edges(joined.round) == [(s, r) for s, r in ring(0, 2, 3, 4) if s != 3], "it has published nothing yet"
    for place in (0, 2, 4):
        seen = {i.round: i for i in peers[place].seen}
        assert sorted(seen) == list(range(21))
        assert set(seen[20].row.sources) == {s for s, r in ring(0, 2, 3, 4) if r == place}
        assert seen[joined.round].absent == {}, "nobody misses what a newcomer cannot have sent"
    assert life.most_unread <= 2
    assert life.kept == 0


def test_a_newcomers_sources_are_told_that_it_knows_nothing_of_what_they_sent() -> None:
    peers = [Mortal(place, 2 if place == 1 else None) for place in range(4)]
    newcomer = Mortal(1)
    life = Life(make_plan(4, 16), peers, [(6.0, 200, newcomer)])
    (joined,) = life.recorder.of(Joined)
    told = {(i.peer, i.next.round) for p in peers for i in p.seen if i.next and 1 in i.next.behind}
    assert told == {(0, joined.round), (2, joined.round)}, "once each: a codec sends a whole payload then"


def test_a_vacant_place_is_taken_and_by_one_only() -> None:
    peers = [Mortal(0), Mortal(1), None, Mortal(3)]
    one, other, homeless = Mortal(2), Mortal(2), Mortal(-1)
    life = Life(make_plan(4, 20), peers, [(4.0, 200, one), (4.0, 201, other), (5.0, 202, homeless)])
    assert life.edges(1) == ring(0, 1, 3)
    assert life.survivors == [0, 1, 2, 3]
    assert (len(one.seen) > 5, other.seen, homeless.seen) == (True, [], [])
    assert life.edges(20) == ring(0, 1, 2, 3)


def test_who_claims_no_place_gets_an_open_one() -> None:
    newcomer = Mortal(-1)
    life = Life(make_plan(4, 20), [Mortal(0), Mortal(1), None, Mortal(3)], [(4.0, 200, newcomer)])
    assert life.survivors == [0, 1, 2, 3]
    assert newcomer.seen[0].peer == 2


def test_a_live_peers_place_is_not_taken_nor_one_that_does_not_exist() -> None:
    peers = [Mortal(place) for place in range(3)]
    thieves = [Mortal(place) for place in (0, 1, 2, 3, 10**9)]
    life = Life(make_plan(3, 12), peers, [(2.0, 200 + k, thief) for k, thief in enumerate(thieves)])
    assert life.survivors == [0, 1, 2]
    assert all(thief.seen == [] for thief in thieves)
    assert life.recorder.of(Joined) == life.recorder.of(Failure) == []
    assert all(i.absent == {} for peer in peers for i in peer.seen)


def test_where_nobody_may_join_a_vacant_place_stays_so() -> None:
    newcomer = Mortal(2)
    settings = RelaySettings(straggler_timeout=50, give_up_timeout=100)
    life = Life(make_plan(3, 12), [Mortal(0), Mortal(1), None], [(2.0, 200, newcomer)], settings=settings)
    assert (life.survivors, newcomer.seen) == ([0, 1], [])


def test_who_comes_and_breaks_again_and_again_is_let_in_ever_less_often() -> None:
    peers = [Mortal(0), Mortal(1), Mortal(2), None]
    hostile = [Mortal(3, dies_in=0) for _ in range(60)]
    life = Life(make_plan(4, 64), peers, [(2.0 + k, 200 + k, one) for k, one in enumerate(hostile)])
    assert life.survivors == [0, 1, 2]
    assert 3 <= len(life.recorder.of(Joined)) <= 7, "closed for 1, 2, 4, 8, 16, 32 rounds"
    for peer in peers[:3]:
        assert peer is not None
        assert peer.seen[-1].round == 64
        assert set(peer.seen[-1].row.sources) == {0, 1, 2} - {peer.place}


@pytest.mark.parametrize("comes", [1.0, 5.0, 9.0])
def test_a_newcomer_that_has_not_begun_is_not_late(comes: float) -> None:
    peers = [Mortal(place, 2 if place == 1 else None) for place in range(4)]
    life = Life(make_plan(4, 8, algorithm=Often()), peers, [(comes, 200, Mortal(1))])
    assert life.survivors == [0, 1, 2, 3]
    assert life.recorder.of(Late) == [], "nobody was slow"
    missed = [(s.peer, s.event.reader) for s in life.recorder.of(Absent)]
    assert sorted(missed) == [(1, 0), (1, 2)], "each is told once"
    assert {reason for peer in peers for i in peer.seen for reason in i.absent.values()} == {"failed"}


class Often:
    """Five exchanges a round along the topology."""

    sums = "rows"

    def exchanges(self, view: RoundView) -> list[Exchange]:
        return [Exchange(f"merge-{k}", view.mixing) for k in range(5)]


class Unlucky(Mortal):
    """Gets no model when it comes first, and is connected all the time."""

    unlucky = True

    def work(self, instruction: Instruction) -> RecordDict:
        if self.unlucky:
            self.unlucky = False
            raise OSError("no neighbour's model has arrived")
        return super().work(instruction)


def test_a_newcomer_that_had_bad_luck_is_asked_again_though_it_never_went() -> None:
    newcomer = Unlucky(3)
    life = Life(make_plan(4, 40), [Mortal(0), Mortal(1), Mortal(2), None], [(2.0, 200, newcomer)])
    assert life.survivors == [0, 1, 2, 3]
    assert (newcomer.asked, len(life.recorder.of(Joined)), len(life.recorder.of(Failure))) == (2, 2, 1)
    assert newcomer.seen[-1].round == 40


def test_after_a_cut_nobody_begins_with_an_exchange_that_a_lost_peer_was_asked_for() -> None:
    plan, last = make_plan(5, 20), [4, 5, 6, 5, 4]

    def told(event: PeerEvent | Failure, peer: int, number: int) -> Stamped:
        return Stamped(event, plan.round_of(number), peer, plan.name_of(number))

    events = [told(Evaluation("after_merge", 50.0), p, n) for p, done in enumerate(last) for n in range(done + 1)]
    events.append(told(Failure("no answer"), 2, 7))  # its machine may have done 7, and have a checkpoint of it
    standings = [Standing(frozenset(range(done + 1))) if p != 2 else Standing() for p, done in enumerate(last)]
    found: Restoration[str] = find_out(plan, standings, what_was_told(events, plan), nobody_is_late=False)
    dispatcher: Dispatcher[str] = Dispatcher(plan, 5)
    dispatcher.restore(found, 0.0)
    recorder = ListRecorder()
    turnover = Turnover(plan, dispatcher, ANYBODY, recorder)
    turnover.restore(events)
    assert turnover.take_in({2}) == [2]
    (joined,) = recorder.of(Joined)
    assert joined.round > 7, "else the record has it twice, and the old checkpoint is taken for the newcomer's answer"


def test_after_a_cut_the_absence_of_the_peer_before_is_not_that_of_a_newcomer() -> None:
    before = [Stamped(Absent(reader, "failed"), 3, peer, "merge") for peer, reader in ((1, 0), (1, 2), (2, 0), (0, 3))]
    assert absences_told(before) == {(1, 0), (1, 2), (2, 0), (0, 3)}
    joined = Stamped(Joined(), 5, 1, "merge")
    assert absences_told([*before, joined]) == {(2, 0), (0, 3)}
    assert absences_told([*before, joined, before[0]]) == {(1, 0), (2, 0), (0, 3)}


def test_where_the_graph_cannot_be_drawn_it_stays_and_rows_are_scaled() -> None:
    peers = [Mortal(place, 2 if place == 5 else None) for place in range(6)]
    life = Life(make_plan(6, 8, topology=Torus()), peers)
    assert life.survivors == [0, 1, 2, 3, 4]
    assert life.recorder.of(Redrawn) == []
    assert all(peers[place].seen[-1].round == 8 for place in range(5))
    assert any(i.absent == {5: "failed"} for peer in peers[:5] for i in peer.seen[-1:])
    assert life.plan.parts(life.survivors) == [[0, 1, 2, 3, 4]]


def test_a_place_in_a_graph_that_could_not_be_drawn_anew_is_taken_in_the_graph_as_it_is() -> None:
    peers = [Mortal(place, 2 if place == 5 else None) for place in range(6)]
    newcomer = Mortal(5)  # without it they are five, which are no torus
    life = Life(make_plan(6, 24, topology=Torus()), peers, [(12.0, 200, newcomer)])
    assert life.survivors == [0, 1, 2, 3, 4, 5]
    assert newcomer.seen[-1].round == 24
    assert life.plan.parts(life.survivors) == [[0, 1, 2, 3, 4, 5]]


class Tree:
    """Two exchanges a round: along one link from the first peer, then with everybody."""

    sums = "rows"

    def exchanges(self, view: RoundView) -> list[Exchange]:
        down = Mixing(np.zeros(view.peers), np.array([[0, 1]], np.int32), np.ones(1))
        return [Exchange("down", down, "none"), Exchange("merge", view.mixing)]


def test_a_newcomer_begins_in_the_first_exchange_in_which_it_has_a_source() -> None:
    newcomer = Mortal(3)
    life = Life(make_plan(4, 20, algorithm=Tree()), [Mortal(0), Mortal(1), Mortal(2), None], [(4.0, 200, newcomer)])
    assert life.survivors == [0, 1, 2, 3]
    assert (newcomer.seen[0].exchange, newcomer.seen[1].exchange) == ("merge", "down")


def test_a_change_is_refused_whole_or_made() -> None:
    plan = make_plan(4, 10)
    with pytest.raises(PlanError, match="single peer"):
        plan.change(3, [0, 1, 2], [])
    assert plan[5].mixing.edges == ring(0, 1, 2, 3)
    assert dict(plan.change(3, [2], [])) == {}
    assert plan[2].mixing.edges == ring(0, 1, 2, 3)
    assert plan[3].mixing.edges == ring(0, 1, 3)
    assert dict(plan.change(6, [], [2])) == {2: 6}
    assert plan[6].mixing.edges == [(s, r) for s, r in ring(0, 1, 2, 3) if s != 2]
    assert plan[7].mixing.edges == ring(0, 1, 2, 3)
    for number in (3, 6, 7):
        assert plan[number].mixing.row_stochastic


def test_a_slow_newcomer_is_late_like_anybody() -> None:
    def delay(place: int, instruction: Instruction | None) -> float:
        return 70.0 if instruction is not None and instruction.joins else 1.0

    newcomer = Mortal(3)
    life = Life(make_plan(4, 80), [Mortal(0), Mortal(1), Mortal(2), None], [(4.0, 200, newcomer)], delay)
    assert life.survivors == [0, 1, 2, 3]
    assert {s.peer for s in life.recorder.of(Late)} == {3}
    assert newcomer.seen[-1].round == 80
