"""What the relay asks before anything is trained: whether a node can take part, and which place it has."""

from collections.abc import Callable, Iterator
from logging import getLogger
from typing import TypeVar

from flwr.app import RecordDict

from dimat_flwr.relay.clock import Clock, Pause, SignOfLife
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.membership import Claim, MembershipError, SetupError
from dimat_flwr.relay.post import Post, Reply
from dimat_flwr.relay.questions import Questions
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.security.identity import IdentityError, read_introduction
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import ReportError, read_report

K = TypeVar("K")
JOIN_POLL_S = 1.0  # between two looks at who is connected
_FEWEST = 2
_log = getLogger("flwr")


def count_nodes(post: Post, settings: RelaySettings, clock: Clock) -> int:
    """Return how many places a run has whose ``relay.peers`` is not set: as many as nodes are connected, at least two.

    Raises:
        MembershipError: there are not two when ``join_timeout`` is over; in a simulation, where nobody comes later.
    """
    deadline = clock.now() + settings.join_timeout
    while (found := len(post.nodes())) < _FEWEST:
        if clock.now() > deadline or (post.simulation and found):
            raise MembershipError(
                f"{found} peer{' is' if found == 1 else 's are'} connected, the run needs at least {_FEWEST}; in a "
                f'simulation pass --federation-config "num-supernodes={_FEWEST}", in a deployment start more SuperNodes'
            )
        clock.sleep(JOIN_POLL_S)
    return found


def answers(
    questions: Questions[K],
    post: Post,
    settings: RelaySettings,
    clock: Clock,
    may_be_silent: Callable[[K], bool] = lambda key: False,
) -> Iterator[tuple[K, Reply]]:
    """Yield the answers to questions as they come, each with its key.

    Args:
        questions: what was asked; nothing is left open at the end.
        post: the way to the nodes.
        settings: how long to wait.
        clock: what time it is.
        may_be_silent: of a key, whether its answer is done without where it does not come within ``join_timeout``.

    Raises:
        SetupError: a node does not answer.
    """
    # In a simulation messages queue for workers, and waiting for a worker is not being silent.
    began = clock.now()
    polled, pause, alive = began, Pause(began), SignOfLife(began, _log.info)
    while True:
        looked = clock.now()
        if looked - polled >= JOIN_POLL_S:
            questions.ask_again(post.nodes())
            polled = looked
        found = questions.collect()
        yield from found
        if not (waiting := questions.open()):
            return
        waited = 0.0 if post.simulation else clock.now() - began
        needed = {node for key, node in waiting.items() if not may_be_silent(key)}
        if found:
            pause.reset(clock.now())
        elif not needed and waited > settings.join_timeout:
            questions.forget_all_but(())
            return
        elif waited > settings.give_up_timeout:
            raise SetupError(f"nodes {sorted(needed)} did not answer the handshake; are they running?")
        else:
            alive.waiting(looked, lambda: f"waiting for nodes {sorted({*questions.open().values()})} to answer")
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
        told = reply.error or "no reason given"
        return Claim(node, -1, f"the ClientApp failed: {told}" if reply.message_id else told)
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
