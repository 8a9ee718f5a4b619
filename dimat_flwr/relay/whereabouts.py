"""Which node each peer is at, and who is back or new: at the same node, at another in its place, in an open place.

A node that lost its connection comes back by itself, under its old id. A SuperNode that was started anew has another id
(unless it has a registered key): it is asked as in the handshake, and known by the place it claims (``partition-id``)
and, in a run that signs, by the public key that the place's peer introduced itself with. Its nonce may be another.
Whoever claims a place that nobody is in, or none (``partition-id`` not set), may be a newcomer.
"""

from collections.abc import Collection, Sequence
from logging import getLogger

from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.handshake import claim_of, hello
from dimat_flwr.relay.log_line import in_one_line
from dimat_flwr.relay.membership import Claim
from dimat_flwr.relay.post import Post
from dimat_flwr.relay.questions import Questions
from dimat_flwr.security.identity import read_introduction
from dimat_flwr.wire import names

NOBODY = -1  # the node of a place that nobody is in
LOOK_S = 3.0  # between two looks at who is there
_log = getLogger("flwr")


class Whereabouts:
    """Peers and their nodes during a run."""

    def __init__(self, post: Post, places: Sequence[int], facts: RunFacts) -> None:
        """Take the places that the handshake found.

        Args:
            post: the way to the nodes.
            places: peer's index -> node.
            facts: the run's constants.
        """
        self._post, self._places, self._facts = post, list(places), facts
        self._questions = Questions[int](post)  # by stranger
        self._waiting: dict[int, Claim] = {}  # strangers whose place is not vacant, or not yet
        self._known = set(places)
        self._came: set[int] = set()  # places that a newcomer was let into
        self._connected: set[int] = set()
        self._looked = float("-inf")

    def node(self, peer: int) -> int:
        """Return the node that a peer is at."""
        return self._places[peer]

    def look(self, away: Collection[int], busy: Collection[int], now: float) -> list[int]:
        """Return the peers that can be asked again, ascending; costs nothing before it is time to look.

        Args:
            away: peers that no message is on its way to.
            busy: peers that one is on its way to: theirs may be at a node that is gone for good.
            now: the clock's time.
        """
        if now - self._looked < LOOK_S:
            return []
        self._looked = now
        self._connected = set(self._post.nodes())
        self._known &= self._connected.union(
            self._places
        )  # who went, and is at no place, is a stranger when it is back
        self._questions.forget_all_but(self._connected)
        moved = self._claims(away, busy)
        self._ask_strangers()
        return sorted({*moved, *(peer for peer in away if self._places[peer] in self._connected)})

    def leave(self, peer: int) -> None:
        """Take note that a peer is out, and its place nobody's.

        A newcomer may have failed because its sources had gone: it is asked again, and waits until a place is open.
        """
        if peer in self._came:
            self._came.discard(peer)
            self._known.discard(self._places[peer])
        self._places[peer] = NOBODY

    def newcomers(self, open_places: Collection[int]) -> dict[int, int]:
        """Return place -> node of those who may come into open places; those who claim none get the first."""
        found: dict[int, int] = {}
        for node, claim in sorted(self._waiting.items()):
            free = [place for place in sorted(open_places) if place not in found]
            place = claim.place if claim.place >= 0 else next(iter(free), NOBODY)
            if place in free and node in self._connected and not claim.introduction:
                found[place] = node
        return found

    def settle(self, place: int, node: int) -> None:
        """Let a newcomer have a place."""
        del self._waiting[node]
        self._places[place] = node
        self._came.add(place)

    def is_connected(self, peer: int) -> bool:
        """Whether the peer's node was there at the last look."""
        return self._places[peer] in self._connected

    def _ask_strangers(self) -> None:
        self._questions.ask_again(self._connected)
        for node in sorted(self._connected - self._known):
            self._known.add(node)
            self._questions.ask(node, node, names.SETUP_MESSAGE, hello(self._facts))

    def _claims(self, away: Collection[int], busy: Collection[int]) -> list[int]:
        """Return the peers whose place a stranger has taken up."""
        for node, reply in self._questions.collect():
            claim = claim_of(node, reply)
            if problem := claim.problem or self._unlike(claim):
                _log.warning("node %d came during the run and is not taken in: %s", node, in_one_line(problem))
                continue
            self._waiting[node] = claim
            if not self._is_vacant(claim, away, busy):
                place = "a place" if claim.place < 0 else f"place {claim.place}"
                _log.warning("node %d came during the run and waits to be let into %s", node, place)
        moved = []
        # A SuperNode that was killed and started anew is here before Flower notices that the old one is gone.
        for node, claim in sorted(self._waiting.items()):
            if node not in self._connected:
                del self._waiting[node]
                self._known.discard(node)
                continue
            if not self._is_vacant(claim, away, busy) or claim.place in moved:
                continue
            del self._waiting[node]
            self._places[claim.place] = node
            moved.append(claim.place)
        return moved

    def _unlike(self, claim: Claim) -> str:
        """Return why a claim is not that of the peer who was met in the handshake; empty where nobody signs."""
        met = self._facts.introductions.get(claim.place)
        if met is None or (
            claim.introduction and read_introduction(claim.introduction).public == read_introduction(met).public
        ):
            return ""
        return f"it claims place {claim.place} without the key that peer {claim.place} introduced itself with"

    def _is_vacant(self, claim: Claim, away: Collection[int], busy: Collection[int]) -> bool:
        """Whether a place's peer is not there; one that is, and has lost a process over a message, is asked again."""
        return (claim.place in away or claim.place in busy) and self._places[claim.place] not in self._connected
