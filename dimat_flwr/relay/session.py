"""One run from the relay's side, written down from its first to its last moment whatever happens in between."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from logging import getLogger
from typing import Any

from dimat_flwr.records.continued import ContinuedFolder
from dimat_flwr.records.run_folder import RunFolder
from dimat_flwr.relay.clock import Clock, SystemClock
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.handshake import agree_on_places, wait_for_nodes
from dimat_flwr.relay.meeting import let_all_meet
from dimat_flwr.relay.membership import SetupError
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.post import Post
from dimat_flwr.relay.resumption import Resumption
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.traffic import RelayLoop

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
        parts = _relay(post, folder, plan, settings, clock or SystemClock())
    except BaseException as error:
        # Also an interrupt leaves a record of how far it came.
        folder.finish("failed", f"{type(error).__name__}: {error}")
        raise
    return folder.finish("completed", parts=parts)


def _relay(
    post: Post, folder: RunFolder, make_plan: Callable[[int], Plan], settings: RelaySettings, clock: Clock
) -> list[list[int]] | None:
    """Relay all exchanges and return the groups that the survivors fell into, None where nobody was lost."""
    earlier = folder if isinstance(folder, ContinuedFolder) else None
    out = earlier.out if earlier else frozenset()
    if earlier:
        settings = replace(settings, peers=earlier.peers)
    nodes = wait_for_nodes(post, settings, clock, without=len(out))
    plan = make_plan(settings.peers if earlier and settings.peers else len(nodes))
    folder.describe({**_describe(plan), "exchanges": len(plan)})
    facts = RunFacts(plan.peers, folder.path.name, post.simulation, plan.rounds)
    if earlier:
        facts = replace(facts, resumed=True, settings=earlier.settings_of_peers(post.simulation))
    places, claims = agree_on_places(post, nodes, facts, settings, clock, out)
    introductions = {place: claim.introduction for place, claim in claims.items() if claim.introduction}
    facts = replace(facts, introductions=introductions)
    if introductions and not earlier:  # in a run that is gone on with they have met
        let_all_meet(post, claims, facts, settings, clock)
    resumption = Resumption(post, earlier, plan, facts, claims) if earlier else None
    if resumption:
        resumption.bring_back(settings, clock)
    loop = RelayLoop(post, places, plan, facts, settings, folder, clock)
    if resumption:
        resumption.hand_over(loop)
    survivors = loop.run()
    if not survivors:
        raise SetupError("every peer failed; the lines with event 'failure' in metrics.jsonl say why")
    return None if len(survivors) == len(places) else plan.parts(survivors)


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
