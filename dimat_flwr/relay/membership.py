"""Which Flower node is which peer, and whether every one of them can do what the run will ask for."""

import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

from dimat_flwr.events import clip

_MAX_PROBLEM = 1_000  # characters
_NAMED = 10  # places in an error
_PLACE = "{peer}"  # stands for a peer's number in problems that differ by it alone


class MembershipError(RuntimeError):
    """Too few nodes, or nodes that claim the same or an impossible place in the topology."""


class SetupError(RuntimeError):
    """Some peer cannot take part (no data, no such device, ...), found before any training; or none is left."""


@dataclass(frozen=True)
class Claim:
    """One node's answer to the handshake.

    Attributes:
        node: Flower's id of the node.
        place: the place it claims, Flower's ``partition-id``; -1 for any.
        problem: why it cannot take part, empty if it can.
        introduction: what it lets the other peers know; empty where it does not sign.
        kept: in a run that is gone on with, the exchanges of which it has a checkpoint.
        lost: those of which it should have one.
    """

    node: int
    place: int
    problem: str = ""
    introduction: str = ""
    kept: tuple[int, ...] = ()
    lost: tuple[int, ...] = ()


@dataclass(frozen=True)
class Seating:
    """Who has which place, as far as nodes have answered.

    Attributes:
        peers: how many places there are.
        taken: place -> the node in it; of those that are out of the run too, where somebody claims one.
        rivals: place -> the nodes that all claim it, none of which is in ``taken``.
        beyond: who claims a place that there is not.
        unplaced: who claims none where a place has to be claimed.
        spare: who else has none.
        empty: the places that are needed and that nobody claims, ascending.
    """

    peers: int
    taken: Mapping[int, Claim]
    rivals: Mapping[int, Sequence[Claim]]
    beyond: Sequence[Claim]
    unplaced: Sequence[Claim]
    spare: Sequence[Claim]
    empty: Sequence[int]

    @classmethod
    def of(cls, claims: Sequence[Claim], peers: int, without: Collection[int] = (), *, by_claim: bool = False) -> Self:
        """Give everybody the place that he claims, and the others what is left in the order given.

        Args:
            claims: the nodes' answers.
            peers: number of places.
            without: places that may stay empty, because their peers are out; what is wrong with a node that claims one
                concerns nobody.
            by_claim: whether nobody gets a place that he does not claim: in a run that is gone on with it is where the
                peer's checkpoints are.
        """
        by_place: dict[int, list[Claim]] = {}
        for claim in claims:
            if claim.place >= 0 and not (claim.problem and claim.place in without):
                by_place.setdefault(claim.place, []).append(claim)
        beyond = [claim for place, found in by_place.items() if place >= peers for claim in found]
        within = {place: found for place, found in by_place.items() if place < peers}
        taken = {place: found[0] for place, found in within.items() if len(found) == 1}
        rivals = {place: found for place, found in within.items() if len(found) > 1 and place not in without}
        others = [claim for place, found in within.items() if len(found) > 1 and place in without for claim in found]
        anywhere = sorted((claim for claim in claims if claim.place < 0), key=lambda claim: bool(claim.problem))
        if not by_claim:
            free = [place for place in range(peers) if place not in within]
            taken |= dict(zip(free, anywhere, strict=False))
            others += anywhere[len(free) :]
        empty = [place for place in range(peers) if not (place in taken or place in rivals or place in without)]
        return cls(peers, dict(sorted(taken.items())), rivals, beyond, anywhere if by_claim else [], others, empty)

    @property
    def is_complete(self) -> bool:
        """Whether every place that is needed has one node that claims it."""
        return not (self.empty or self.rivals)

    def require_one_mode(self) -> None:
        """Raise ``SetupError`` where some sign or seal and others do not: they would refuse all that those send."""
        by_mode: dict[str, list[str]] = {}
        for place, claim in self.taken.items():
            mode = claim.introduction.partition(":")[0] or "neither sign nor seal"
            by_mode.setdefault(mode, []).append(f"peer {place}" if claim.place >= 0 else f"node {claim.node}")
        if len(by_mode) > 1:
            told = "; ".join(f"{mode}: {', '.join(who)}" for mode, who in sorted(by_mode.items()))
            raise SetupError(
                f"nothing was trained. Peers do not agree on security.sign and security.seal ({told}); set them for "
                "the run, or in every device's --node-config"
            )

    def faults(self) -> str:
        """Return why the run cannot begin so: places that nobody claims or several do, and who claims none."""
        told = [
            f"nodes {_and(found)} {'both' if len(found) == 2 else 'all'} claim place {place}; give every SuperNode its "
            "own partition-id in --node-config, or none of them any"
            for place, found in list(self.rivals.items())[:_NAMED]
        ]
        if self.empty:
            named = ", ".join(map(str, self.empty[:_NAMED])) + (", ..." if len(self.empty) > _NAMED else "")
            told.append(f"nobody is in place {named}; start those SuperNodes, too")
        return "\n".join([*told, *(f"node {claim.node} {why}" for claim, why in self.left_over()[:_NAMED])])

    def left_over(self) -> list[tuple[Claim, str]]:
        """Return the nodes that have no place, each with why."""
        return [
            *(
                (
                    claim,
                    f"claims place {claim.place}, but {self.peers} peers have places 0 to {self.peers - 1}; give every "
                    "SuperNode its own partition-id in --node-config, counting from 0",
                )
                for claim in self.beyond
            ),
            *(
                (
                    claim,
                    f"has no place: {_told(claim.problem)}"
                    if claim.problem
                    else "claims no place, and a run that is gone on with knows its peers by their places: give its "
                    "SuperNode the partition-id that the names of its files peer-<place>-*.checkpoint have",
                )
                for claim in self.unplaced
            ),
            *((claim, "is one more than there are places") for claim in self.spare),
        ]


def require_no_problem(claims: Sequence[Claim]) -> None:
    """Raise ``SetupError`` where a node cannot take part, with who and why."""
    said = Counter(claim.problem for claim in claims)
    alike: dict[str, list[Claim]] = {}
    for claim in claims:
        if claim.problem:
            # A file that each peer has of its own is missing everywhere: that is one problem, whatever its number.
            numbered = re.sub(rf"(?<!\d){claim.place}(?!\d)", _PLACE, claim.problem)
            alike.setdefault(numbered if said[claim.problem] == 1 else claim.problem, []).append(claim)
    if alike:
        lines = [f"{_who(found, len(claims))}: {_told(found[0].problem)}" for found in alike.values()]
        raise SetupError("nothing was trained. " + "\n".join(lines))


def _who(claims: Sequence[Claim], of: int) -> str:
    names = [f"peer {claim.place}" if claim.place >= 0 else f"node {claim.node}" for claim in claims]
    named = ", ".join(names[:_NAMED]) + (f" and {len(names) - _NAMED} more" if len(names) > _NAMED else "")
    all_or_some = "every peer" if len(claims) == of else named
    same = all(claim.problem == claims[0].problem for claim in claims)
    return all_or_some if same else f"{all_or_some}, each with its own number, such as {names[0]}"


def _and(claims: Sequence[Claim]) -> str:
    return " and ".join(str(claim.node) for claim in claims)


def _told(problem: str) -> str:
    """Return a node's words for an error text: not too many of them, and no line that looks like another node's."""
    return clip(clip(problem, _MAX_PROBLEM).strip().replace("\n", "\n    "), _MAX_PROBLEM)
