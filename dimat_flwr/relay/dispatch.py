"""Who may go on, and with whose payloads: the event-driven heart of the relay, without any network in it.

Step 0 is the local training before the first exchange; step s >= 1 follows exchange s of the plan. Peer i is sent step
s as soon as it has finished step s - 1 and so has every in-neighbour of exchange s. There is no global barrier: a slow
peer delays its neighbours only. An in-neighbour that failed is left out, and so is a late one, which is one that has
been busy for longer than the straggler timeout; the others' weights are renormalized. A late peer that answers after
all is moved on to the round the others are in, so that it never works off a backlog nobody waits for.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from dimat_flwr.relay.mailbox import Mailbox
from dimat_flwr.relay.plan import Step
from dimat_flwr.topology import renormalize

T = TypeVar("T")


@dataclass(frozen=True)
class Dispatch(Generic[T]):
    """One peer may start one step.

    Attributes:
        peer: who.
        step: 0 for the local training before the first exchange, else the number of the exchange, from 1.
        payloads: in-neighbour -> what it published for this peer, ascending.
        weights: the peer's row of W over itself and ``payloads``.
        readers: who will read what this step publishes, ascending.
        absent: in-neighbours whose payload is missing -> "failed" or "late".
    """

    peer: int
    step: int
    payloads: Mapping[int, T]
    weights: Mapping[int, float]
    readers: tuple[int, ...]
    absent: Mapping[int, str]


@dataclass
class _PeerState:
    done: int = 0  # steps finished; the next one has this number
    busy_since: float | None = None
    failed: bool = False
    late: bool = False


class Dispatcher(Generic[T]):
    """State machine over (peer, step); the caller sends what ``ready`` returns and reports what happens."""

    def __init__(self, plan: list[Step], peers: int, *, straggler_timeout: float, give_up_timeout: float) -> None:
        """Prepare a run.

        Args:
            plan: the exchanges, in order.
            peers: number of peers.
            straggler_timeout: seconds after which neighbours stop waiting for a busy peer.
            give_up_timeout: seconds after which a busy peer counts as lost.
        """
        self._plan = plan
        self._straggler, self._give_up = straggler_timeout, give_up_timeout
        self._peers = [_PeerState() for _ in range(peers)]
        self._mailbox: Mailbox[T] = Mailbox()

    @property
    def last_step(self) -> int:
        """Number of the last step; a peer that finished it is done."""
        return len(self._plan)

    def ready(self, now: float) -> list[Dispatch[T]]:
        """Return the steps that may start now and count their peers as busy from now on."""
        for state in self._peers:
            if state.busy_since is not None and now - state.busy_since > self._straggler:
                state.late = True
        return [self._dispatch(peer, now) for peer in range(len(self._peers)) if self._may_start(peer)]

    def answered(self, peer: int, contents: Mapping[int, T]) -> range:
        """Take note that a peer finished its step and published ``contents``: reader -> what is for that reader.

        Readers that the plan does not have, or that have gone on without this peer, are left out.

        Returns:
            The steps the peer is moved past because it was late and its readers have gone on; empty as a rule.
        """
        state = self._peers[peer]
        state.busy_since = None
        finished, state.done = state.done, state.done + 1
        if state.late:
            state.late = False
            state.done = self._catch_up(peer, state.done)
            self._mailbox.forget_reader(peer, before_step=state.done)
        readers = [reader for reader in self._readers(peer, state.done) if reader in contents]
        self._mailbox.put(peer, state.done, {reader: contents[reader] for reader in readers})
        return range(finished + 1, state.done)

    def failed(self, peer: int) -> None:
        """Take note that a peer is out of the run."""
        state = self._peers[peer]
        state.failed, state.busy_since = True, None
        self._mailbox.forget_reader(peer)

    def lost(self, now: float) -> list[int]:
        """Return the peers that have been busy for longer than the give-up timeout; the caller reports them failed."""
        return [
            peer
            for peer, state in enumerate(self._peers)
            if state.busy_since is not None and now - state.busy_since > self._give_up
        ]

    def alive(self) -> list[int]:
        """Return the peers that have not failed, ascending."""
        return [peer for peer, state in enumerate(self._peers) if not state.failed]

    def step_of(self, peer: int) -> int:
        """Return the number of the step that the peer is at or will do next."""
        return self._peers[peer].done

    def finished(self) -> bool:
        """Whether every peer has done its last step or failed."""
        return all(state.failed or state.done > self.last_step for state in self._peers)

    def kept(self) -> int:
        """Return how many payloads wait for a reader."""
        return len(self._mailbox)

    def _may_start(self, peer: int) -> bool:
        state = self._peers[peer]
        if state.failed or state.busy_since is not None or state.done > self.last_step:
            return False
        return all(
            source.done >= state.done or source.failed or source.late
            for source in (self._peers[index] for index in self._sources(state.done, peer))
        )

    def _dispatch(self, peer: int, now: float) -> Dispatch[T]:
        state = self._peers[peer]
        step = state.done
        payloads: dict[int, T] = {}
        absent: dict[int, str] = {}
        for source in self._sources(step, peer):
            content = self._mailbox.take(source, step, peer)
            if content is not None:
                payloads[source] = content
            else:
                absent[source] = "failed" if self._peers[source].failed else "late"
        state.busy_since = now
        readers = tuple(self._readers(peer, step + 1))
        return Dispatch(peer, step, payloads, self._weights(step, peer, set(payloads)), readers, absent)

    def _weights(self, step: int, peer: int, present: set[int]) -> dict[int, float]:
        if step == 0:
            return {peer: 1.0}
        exchange = self._plan[step - 1]
        row = exchange.mixing.row(peer)
        if exchange.mixing.sums == "rows":
            return renormalize(row, present | {peer})
        return {source: weight for source, weight in row.items() if source in present | {peer}}

    def _sources(self, step: int, peer: int) -> list[int]:
        return [] if step == 0 else sorted(self._plan[step - 1].mixing.in_neighbours(peer))

    def _readers(self, peer: int, step: int) -> list[int]:
        """Return who reads from ``peer`` in exchange ``step`` and has that exchange still ahead."""
        if not 1 <= step <= self.last_step:
            return []
        return [
            reader for reader in sorted(self._plan[step - 1].mixing.out_neighbours(peer)) if self._ahead(reader, step)
        ]

    def _ahead(self, reader: int, step: int) -> bool:
        state = self._peers[reader]
        waiting = state.done == step and state.busy_since is None
        return not state.failed and (state.done < step or waiting)

    def _catch_up(self, peer: int, step: int) -> int:
        """Return the step a late peer goes on with: same phase, in the latest round that no other peer has left."""
        others = [
            state.done
            for index, state in enumerate(self._peers)
            if index != peer and not state.failed and not state.late
        ]
        if not others or not 1 <= step <= self.last_step:
            return step
        phase, limit = self._plan[step - 1].phase, min(min(others), self.last_step)
        return max((s for s in range(step, limit + 1) if self._plan[s - 1].phase == phase), default=step)
