"""Before anything is trained: wait for the nodes, ask each whether it can take part and which place it has."""

from collections.abc import Collection, Iterator
from logging import getLogger

from flwr.app import RecordDict

from dimat_flwr.relay.clock import Clock, Pause
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.membership import Claim, MembershipError, SetupError, assign_places
from dimat_flwr.relay.post import Post, Reply
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.security.identity import IdentityError, read_introduction
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import ReportError, read_report

_JOIN_POLL_S = 1.0
_log = getLogger("flwr")


def wait_for_nodes(post: Post, settings: RelaySettings, clock: Clock, without: int = 0) -> list[int]:
    """Return the nodes of the run, ascending, once all are connected that are set but ``without``.

    When the time set is over ``min_peers`` are enough; so they are at once in a simulation, where nobody comes later.

    Raises:
        MembershipError: they are not there either.
    """
    wanted, deadline = max(1, (settings.peers or 2) - without), clock.now() + settings.join_timeout
    all_wanted = wanted
    nodes = post.nodes()
    while len(nodes) < wanted:
        is_over = clock.now() > deadline or (post.simulation and bool(nodes))
        if is_over and settings.min_peers is not None:
            wanted = min(wanted, settings.min_peers)
        if is_over and len(nodes) < wanted:
            raise MembershipError(
                f"{len(nodes)} peer{'s are' if len(nodes) != 1 else ' is'} connected, the run needs at least "
                f'{wanted}; in a simulation pass --federation-config "num-supernodes={wanted}", '
                "in a deployment start more SuperNodes or lower relay.peers"
            )
        if not is_over:
            clock.sleep(_JOIN_POLL_S)
            nodes = post.nodes()
    if len(nodes) < all_wanted:
        _log.warning("the run begins with %d of %d peers", len(nodes), all_wanted)
    return nodes[: settings.peers]


def agree_on_places(
    post: Post,
    nodes: list[int],
    facts: RunFacts,
    settings: RelaySettings,
    clock: Clock,
    without: Collection[int] = (),
) -> tuple[list[int], dict[int, Claim]]:
    """Return the node of every place in the topology, from the nodes' own answers, and each place's answer.

    Args:
        post: the way to the nodes.
        nodes: who is asked.
        facts: the run's constants.
        settings: how long to wait.
        clock: what time it is.
        without: places that may stay empty, see ``assign_places``.

    Raises:
        SetupError: a node cannot take part, or does not answer.
        MembershipError: conflicting places.
    """
    waiting: dict[str, int] = {}
    claims: list[Claim] = []
    for node in nodes:
        message_id = post.send(node, names.SETUP_MESSAGE, hello(facts))
        if message_id:
            waiting[message_id] = node
        else:
            claims.append(Claim(node, -1, "Flower refused the first message to it; is the node still connected?"))
    for node, reply in answers(post, waiting, settings, clock):
        claims.append(claim_of(node, reply))
    if facts.resumed:  # nothing is asked of a peer that is out, so it need not be able to do anything
        claims = [claim for claim in claims if not (claim.problem and claim.place in without)]
    # In order of place and node, so that places and errors do not depend on who answered first.
    places = assign_places(sorted(claims, key=lambda claim: (claim.place, claim.node)), facts.peers, without)
    _log.info("%d peers are ready", len(claims))
    by_node = {claim.node: claim for claim in claims}
    return places, {place: by_node[node] for place, node in enumerate(places) if node in by_node}


def answers(post: Post, waiting: dict[str, int], settings: RelaySettings, clock: Clock) -> Iterator[tuple[int, Reply]]:
    """Yield the replies to messages as they come, each with the node that it is of.

    Args:
        post: the way to the nodes.
        waiting: message -> the node that it went to; taken out as they come.
        settings: how long to wait.
        clock: what time it is.

    Raises:
        SetupError: a node does not answer.
    """
    # In a simulation messages queue for workers, and waiting for a worker is not being silent.
    deadline = None if post.simulation else clock.now() + settings.give_up_timeout
    pause = Pause(clock.now())
    while waiting:
        looked = clock.now()
        replies = post.collect(list(waiting))
        for reply in replies:
            if reply.message_id in waiting:
                yield waiting.pop(reply.message_id), reply
        if replies:
            pause.reset(clock.now())
        elif deadline is not None and clock.now() > deadline:
            raise SetupError(f"nodes {sorted({*waiting.values()})} did not answer the handshake; are they running?")
        else:
            clock.sleep(pause.seconds(clock.now(), clock.now() - looked))


def hello(facts: RunFacts) -> RecordDict:
    """Return the content of the message that asks a node whether it can take part, and where."""
    asked = Instruction(
        peer=-1,
        peers=facts.peers,
        run=facts.run,
        simulation=facts.simulation,
        rounds=facts.rounds,
        resumed=facts.resumed,
        settings=dict(facts.settings),
    )
    return RecordDict({names.INSTRUCTION: asked.to_record()})


def claim_of(node: int, reply: Reply) -> Claim:
    """Read a node's answer to it."""
    if reply.content is None:
        return Claim(node, -1, f"the ClientApp failed: {reply.error}")
    try:
        report = read_report(reply.content.get(names.REPORT))
    except ReportError as error:
        return Claim(node, -1, str(error))
    try:
        if report.introduction:
            read_introduction(report.introduction)
    except IdentityError as error:
        return Claim(node, report.place, str(error))
    return Claim(node, report.place, report.problem, report.introduction, tuple(report.kept), tuple(report.lost))
