"""One run from the relay's side, written down from its first to its last moment whatever happens in between."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from logging import getLogger
from typing import Any

from dimat_flwr.events import Stamped, Vacant
from dimat_flwr.records.continued import ContinuedFolder
from dimat_flwr.records.run_folder import RunFolder
from dimat_flwr.relay.clock import Clock, ReachableTime, SystemClock
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.gathering import agree_on_places
from dimat_flwr.relay.handshake import count_nodes
from dimat_flwr.relay.meeting import let_all_meet
from dimat_flwr.relay.membership import Claim, SetupError
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.post import Post
from dimat_flwr.relay.resumption import Resumption, repeat_changes
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.traffic import RelayLoop
from dimat_flwr.relay.whereabouts import NOBODY
from dimat_flwr.topology.exchange import START

# Above these the figures for the record would cost more than they tell.
_MOST_PEERS_FOR_A_GAP, _MOST_EDGES_LISTED = 1000, 10_000
_log = getLogger("flwr")


def run_relay(
    post: Post,
    folder: RunFolder,
    plan: Callable[[int], Plan],
    settings: RelaySettings,
    facts: Mapping[str, Any],
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Relay one run and return its summary; also when it fails, everything so far is on disk.

    Args:
        post: the way to the nodes.
        folder: where the run is written down.
        plan: number of peers -> exchanges; errors of it end the run before any peer trains.
        settings: how long to wait for whom.
        facts: what the summary says of the run besides what happened in it.
        clock: what time it is; by default the machine's.

    Raises:
        MembershipError: too few peers, or conflicting places.
        TopologyError, ScheduleError, PlanError: there is no such plan for this number of peers.
        SetupError: a peer cannot take part, or no peer is left.
        RecordsError: the run's folder cannot be written to.
    """
    try:
        folder.describe(facts)
        try:
            parts = _relay(post, folder, plan, settings, ReachableTime(clock or SystemClock(), post))
        finally:
            if post.out_of_reach:
                folder.out_of_reach(post.out_of_reach)
    except BaseException as error:
        # Also an interrupt leaves a record of how far it came.
        folder.finish("failed", _reason(error))
        raise
    return folder.finish("completed", parts=parts)


def _reason(error: BaseException) -> str:
    match error:
        case KeyboardInterrupt():
            return "stopped by Ctrl-C"
        case SystemExit():  # what Flower makes of signals, and of a heartbeat that came too late
            return (
                "Flower has ended the ServerApp: by flwr stop, a signal, or because the SuperLink had not heard from "
                "it for a minute, as when it was frozen; resume-from goes on with the run"
            )
    return f"{type(error).__name__}: {error}"


def _relay(
    post: Post, folder: RunFolder, make_plan: Callable[[int], Plan], settings: RelaySettings, clock: Clock
) -> list[list[int]] | None:
    """Relay all exchanges and return the groups that the survivors fell into, None where nobody was lost."""
    earlier = folder if isinstance(folder, ContinuedFolder) else None
    out = earlier.out if earlier else frozenset()
    if earlier:
        settings = replace(settings, peers=earlier.peers, min_peers=None)
    plan = make_plan(settings.peers or count_nodes(post, settings, clock))
    if earlier:
        repeat_changes(plan, earlier.earlier_events())
    folder.describe({**_describe(plan), "exchanges": len(plan)})
    facts = RunFacts(plan.peers, folder.path.name, post.simulation, plan.rounds)
    if earlier:
        facts = replace(facts, resumed=True, settings=earlier.settings_of_peers(post.simulation))
    claims = agree_on_places(post, facts, settings, clock, out)
    inside = [place for place in range(plan.peers) if place in claims and place not in out]
    _require_no_strangers(claims, len(inside) < plan.peers - len(out), settings)
    if not earlier:
        _leave_vacant([place for place in range(plan.peers) if place not in claims], plan, folder)
    introductions = {place: claim.introduction for place, claim in claims.items() if claim.introduction}
    if introductions and earlier:  # who is out need not be there, and is still one of those whom the others have met
        introductions |= {place: text for place, text in earlier.introductions().items() if place in out}
    facts = replace(facts, introductions=introductions)
    if introductions and not earlier:  # in a run that is gone on with they have met
        let_all_meet(post, claims, facts, settings, clock)
        folder.write_introductions(introductions)
    resumption = Resumption(post, earlier, plan, facts, claims) if earlier else None
    if resumption:
        resumption.bring_back(settings, clock)
    # A device in the place of a peer that is out is a stranger, which may be taken in.
    places = [claims[place].node if place in inside else NOBODY for place in range(plan.peers)]
    loop = RelayLoop(post, places, plan, facts, settings, folder, clock)
    if resumption:
        resumption.hand_over(loop)
    survivors = loop.run()
    if not survivors:
        raise SetupError("every peer failed; the lines with event 'failure' in metrics.jsonl say why")
    return None if plan.everybody == set(survivors) else plan.parts(survivors)


def _leave_vacant(vacant: Sequence[int], plan: Plan, folder: RunFolder) -> None:
    """Lay the run out over the places that are taken, if some are not."""
    if not vacant:
        return
    plan.begin_with([place for place in range(plan.peers) if place not in vacant])
    folder.describe({**_describe(plan), "exchanges": len(plan)})
    for place in vacant:
        folder.event(Stamped(Vacant(), 0, place, START))


def _require_no_strangers(claims: Mapping[int, Claim], some_are_missing: bool, settings: RelaySettings) -> None:
    """Refuse newcomers in a run whose peers sign, also where the devices say so and the run does not."""
    if any(claim.introduction for claim in claims.values()) and (settings.join != "start" or some_are_missing):
        raise SetupError(
            "nothing was trained. Peers that sign meet all the others in exchange 0, and take no payload of those who "
            "come later: set relay.join=start, and wait for all relay.peers"
        )


def _describe(plan: Plan) -> dict[str, Any]:
    """Return the graph's figures for the record and log them; the first exchange stands for those like it."""
    first = plan.first_communicating
    if first is None:
        _log.info("%d peers, no exchange at all", plan.peers)
        return {"peers": plan.peers, "spectral_gap": None, "contraction": None, "edges": []}
    gap, contraction = plan.mixes(_MOST_PEERS_FOR_A_GAP)
    told = "" if gap is None else f", spectral gap {gap:.4f}"
    told += "" if contraction is None else f", differences shrink to {contraction:.1%} a round"
    _log.info("%d peers, %d directed edges%s", plan.peers, first.edge_count, told)
    edges = None
    if first.edge_count <= _MOST_EDGES_LISTED:
        rows = {reader: first.row(reader).sources for reader in range(plan.peers)}
        edges = [[source, reader, rows[reader][source]] for source, reader in first.edges]
    return {"peers": plan.peers, "spectral_gap": gap, "contraction": contraction, "edges": edges}
