"""The relay as a Flower strategy whose ``start`` replaces the loop around a global model: there is none here."""

from collections.abc import Callable, Iterable, Mapping
from logging import getLogger
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord, Message, MetricRecord
from flwr.serverapp import Grid
from flwr.serverapp.strategy import Result, Strategy

from dimat_flwr.records import RunFolder
from dimat_flwr.relay.flower_post import FlowerPost
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.session import run_relay
from dimat_flwr.relay.settings import RelaySettings

_NO_GLOBAL_MODEL = "a relay has no global model to configure or aggregate; call start(grid)"
_log = getLogger("flwr")


class Relay(Strategy):
    """Forwards payloads along the plan's graphs; holds no model, averages nothing, opens nothing."""

    def __init__(
        self, folder: RunFolder, plan: Callable[[int], Plan], settings: RelaySettings, facts: Mapping[str, Any]
    ) -> None:
        """Prepare a run; the arguments are those of ``run_relay``."""
        self._folder, self._plan, self._settings, self._facts = folder, plan, settings, facts

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

        The errors are those of ``run_relay``.
        """
        if initial_arrays is not None or evaluate_fn is not None:
            raise ValueError("there is no global model to start from or to evaluate: peers own their models")
        run_relay(FlowerPost(grid), self._folder, self._plan, self._settings, self._facts)
        return Result()

    def summary(self) -> None:
        """Log the relay's settings."""
        _log.info("relay: %s", self._settings)

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
