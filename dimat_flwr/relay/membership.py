"""Which Flower node is which peer, and whether every one of them can do what the run will ask for."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from dimat_flwr.events import clip

_MAX_PROBLEM = 1_000  # characters
_NAMED = 10  # places in an error


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


def assign_places(claims: Sequence[Claim], peers: int, without: Collection[int] = ()) -> list[int]:
    """Return the node of every place in the topology: claimed places first, the others in the order given.

    Args:
        claims: the nodes' answers.
        peers: number of places.
        without: places that may stay empty, because their peers have failed before; their node is -1 then.

    Raises:
        SetupError: a node cannot take part, or some sign or seal and others do not.
        MembershipError: two nodes claim one place, or one claims a place that does not exist, or nobody claims one.
    """
    require_no_problem(claims)
    _require_one_mode(claims)
    places: dict[int, int] = {}
    for claim in claims:
        if claim.place < 0:
            continue
        if claim.place >= peers:
            raise MembershipError(
                f"node {claim.node} claims place {claim.place}, but {peers} peers have places 0 to {peers - 1}; "
                "give every SuperNode its own partition-id in --node-config, counting from 0"
            )
        if claim.place in places:
            raise MembershipError(
                f"nodes {places[claim.place]} and {claim.node} both claim place {claim.place}; give every "
                "SuperNode its own partition-id in --node-config, or none of them any"
            )
        places[claim.place] = claim.node
    free = (place for place in range(peers) if place not in places)
    for claim in claims:
        if claim.place < 0:
            places[next(free)] = claim.node
    empty = [place for place in range(peers) if place not in places and place not in without]
    if empty:
        raise MembershipError(f"nobody is in place {', '.join(map(str, empty[:_NAMED]))}; start those SuperNodes, too")
    return [places.get(place, -1) for place in range(peers)]


def require_no_problem(claims: Sequence[Claim]) -> None:
    """Raise ``SetupError`` where a node cannot take part, with who and why."""
    by_problem: dict[str, list[str]] = {}
    for claim in claims:
        if claim.problem:
            who = f"peer {claim.place}" if claim.place >= 0 else f"node {claim.node}"
            by_problem.setdefault(claim.problem, []).append(who)
    if by_problem:
        lines = [
            f"{'every peer' if len(who) == len(claims) else ', '.join(who)}: {_told(problem)}"
            for problem, who in by_problem.items()
        ]
        raise SetupError("nothing was trained. " + "\n".join(lines))


def _require_one_mode(claims: Sequence[Claim]) -> None:
    """Refuse nodes of which some would refuse all that the others send."""
    by_mode: dict[str, list[str]] = {}
    for claim in claims:
        mode = claim.introduction.partition(":")[0] or "neither sign nor seal"
        by_mode.setdefault(mode, []).append(f"peer {claim.place}" if claim.place >= 0 else f"node {claim.node}")
    if len(by_mode) > 1:
        told = "; ".join(f"{mode}: {', '.join(who)}" for mode, who in sorted(by_mode.items()))
        raise SetupError(
            f"nothing was trained. Peers do not agree on security.sign and security.seal ({told}); set them for the "
            "run, or in every device's --node-config"
        )


def _told(problem: str) -> str:
    """Return a node's words for an error text: not too many of them, and no line that looks like another node's."""
    return clip(clip(problem, _MAX_PROBLEM).strip().replace("\n", "\n    "), _MAX_PROBLEM)
