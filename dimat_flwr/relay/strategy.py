"""The relay as a Flower strategy whose ``start`` replaces the loop around a global model: there is none here."""

import time
from collections.abc import Callable, Iterable
from logging import getLogger

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord, RecordDict
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.loop import Recorder, RelayLoop
from dimat_flwr.relay.membership import Claim, MembershipError, SetupError, assign_places
from dimat_flwr.relay.pause import Pause
from dimat_flwr.relay.plan import Step
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction
from dimat_flwr.wire.report import ReportError, read_report

_log = getLogger("flwr")
_JOIN_POLL_S = 1.0
_NO_GLOBAL_MODEL = "a relay has no global model to configure or aggregate; call start(grid)"


class Relay(Strategy):
    """Forwards payloads along the plan's graphs; holds no model, averages nothing, opens nothing."""

    def __init__(
        self,
        *,
        plan: Callable[[int], list[Step]],
        settings: RelaySettings,
        recorder: Recorder,
        run_name: str,
        simulation: bool,
    ) -> None:
        """Prepare a run.

        Args:
            plan: number of peers -> the run's exchanges.
            settings: how long to wait for whom.
            recorder: where the run is written down.
            run_name: name of the run's folder.
            simulation: whether all peers run in one Flower simulation.
        """
        self._plan, self._settings, self._recorder = plan, settings, recorder
        self._run_name, self._simulation = run_name, simulation

    def start(
        self,
        grid: Grid,
        initial_arrays: ArrayRecord | None = None,
        num_rounds: int = 0,
        timeout: float = 3600,
        train_config: ConfigRecord | None = None,
        evaluate_config: ConfigRecord | None = None,
        evaluate_fn: Callable[[int, ArrayRecord], MetricRecord | None] | None = None,
    ) -> Result:
        """Run all exchanges; of Flower's arguments only ``grid`` applies, the rest belongs to a global model.

        Raises:
            MembershipError: too few peers, or conflicting places.
            TopologyError: the topology does not exist for this number of peers.
            SetupError: a peer cannot take part, or no peer is left.
        """
        if initial_arrays is not None or evaluate_fn is not None:
            raise ValueError("there is no global model to start from or to evaluate: peers own their models")
        nodes = self._wait_for_nodes(grid)
        steps = self._plan(len(nodes))
        facts = RunFacts(len(nodes), self._run_name, self._simulation)
        places = self._handshake(grid, nodes, facts)
        _log.info("%d peers are ready", len(places))
        RelayLoop(grid, places, steps, facts, self._settings, self._recorder).run()
        return Result()

    def summary(self) -> None:
        """Log the relay's settings."""
        _log.info("relay: %s", self._settings)

    def _wait_for_nodes(self, grid: Grid) -> list[int]:
        wanted, deadline = self._settings.peers or 2, time.monotonic() + self._settings.join_timeout
        nodes = sorted(grid.get_node_ids())
        while len(nodes) < wanted:
            if time.monotonic() > deadline or (self._simulation and nodes):
                raise MembershipError(
                    f"{len(nodes)} peer{'s are' if len(nodes) != 1 else ' is'} connected, the run needs at least "
                    f'{wanted}; in a simulation pass --federation-config "num-supernodes={wanted}", '
                    "in a deployment start more SuperNodes or lower relay.peers"
                )
            time.sleep(_JOIN_POLL_S)
            nodes = sorted(grid.get_node_ids())
        return nodes[: self._settings.peers]

    def _handshake(self, grid: Grid, nodes: list[int], facts: RunFacts) -> list[int]:
        hello = Instruction(peer=-1, peers=facts.peers, run_name=facts.run_name, simulation=facts.simulation)
        messages = [
            Message(RecordDict({names.INSTRUCTION: hello.to_record()}), node, names.SETUP_MESSAGE) for node in nodes
        ]
        waiting = dict(zip(grid.push_messages(messages), nodes, strict=True))
        claims: list[Claim] = []
        deadline = time.monotonic() + self._settings.give_up_timeout
        pause = Pause()
        while waiting:
            for reply in grid.pull_messages(list(waiting)):
                claims.append(_read_claim(waiting.pop(reply.metadata.reply_to_message_id), reply))
                pause.reset()
            if waiting and time.monotonic() > deadline:
                raise SetupError(f"nodes {sorted(waiting.values())} did not answer the handshake; are they running?")
            pause.sleep()
        # In order of place, so that an error naming several peers always reads the same.
        return assign_places(sorted(claims, key=lambda claim: claim.identity), facts.peers)

    def configure_train(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Refuse: part of Flower's loop around a global model, which ``start`` replaces."""
        raise TypeError(_NO_GLOBAL_MODEL)

    def aggregate_train(
        self, server_round: int, replies: Iterable[Message]
    ) -> tuple[ArrayRecord | None, MetricRecord | None]:
        """Refuse: part of Flower's loop around a global model, which ``start`` replaces."""
        raise TypeError(_NO_GLOBAL_MODEL)

    def configure_evaluate(
        self, server_round: int, arrays: ArrayRecord, config: ConfigRecord, grid: Grid
    ) -> Iterable[Message]:
        """Refuse: part of Flower's loop around a global model, which ``start`` replaces."""
        raise TypeError(_NO_GLOBAL_MODEL)

    def aggregate_evaluate(self, server_round: int, replies: Iterable[Message]) -> MetricRecord | None:
        """Refuse: part of Flower's loop around a global model, which ``start`` replaces."""
        raise TypeError(_NO_GLOBAL_MODEL)


def _read_claim(node_id: int, reply: Message) -> Claim:
    if reply.has_error():
        return Claim(node_id, -1, f"the ClientApp failed: {reply.error.reason}")
    try:
        report, _ = read_report(reply.content.config_records.get(names.REPORT))
    except ReportError as error:
        return Claim(node_id, -1, str(error))
    return Claim(node_id, report.identity, report.problem)
