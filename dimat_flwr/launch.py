"""One run from its run-config: check the configuration, open the record, relay."""

from collections.abc import Callable, Mapping
from datetime import datetime
from logging import getLogger
from pathlib import Path
from typing import Any, Protocol

from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.records import RecordsError, RunFolder
from dimat_flwr.relay import MembershipError, Plan, PlanError, RelaySettings, SetupError
from dimat_flwr.topology import ScheduleError, TopologyError

# What ends a run with a text that says all there is to say.
REFUSALS = (ConfigError, TopologyError, ScheduleError, PlanError, MembershipError, SetupError, RecordsError)

_log = getLogger("flwr")


class RelayRun(Protocol):
    """Relays one run into its folder: ``relay.Relay(...).start(grid)`` in Flower, ``relay.run_relay`` on any post."""

    def __call__(
        self, folder: RunFolder, plan: Callable[[int], Plan], settings: RelaySettings, facts: Mapping[str, Any]
    ) -> object:
        """Relay; see ``relay.run_relay`` for arguments and errors."""


def launch(run_config: Mapping[str, Any], conf_dir: Path, command: str, relay: RelayRun) -> Path:
    """Do a whole run and return the folder with its results.

    Args:
        run_config: Flower's run-config.
        conf_dir: the folder ``conf/``.
        command: what makes this run again, for the record.
        relay: relays it.

    Raises:
        ConfigError: the configuration has faults; nothing was started, and no folder was made.
        RecordsError: the record cannot be written.
        Exception: what ``relay.run_relay`` raises.
    """
    config = load_config(run_config, {}, conf_dir)
    folder = RunFolder.create(config.output_dir, config.name, datetime.now().astimezone())
    folder.write_config(config.text, command)
    _log.info("%s", "  ".join(f"{group}: {choice}" for group, choice in config.choices.items()))

    if config.final_merge.needs_common_frame and config.algorithm.keeps_own_frames:
        _log.warning(
            "final_merge '%s' averages units as they stand, but '%s' leaves every peer its own order of them: expect a "
            "much worse model; final_merge=aligned aligns them first",
            config.choices["final_merge"],
            config.choices["algorithm"],
        )

    def plan(peers: int) -> Plan:
        made = Plan(
            config.algorithm,
            config.final_merge,
            config.topology,
            config.schedule,
            peers=peers,
            rounds=config.rounds,
            seed=config.seeds.graph,
            instruments=config.instruments,
            shortage=None if config.aggregation.is_mean else config.aggregation.shortage,
        )
        if config.correction.needs_one_symmetric_mixing:
            made.require_one_symmetric_mixing(f"correction '{config.choices['correction']}'")
        return made

    facts = {
        **config.choices,
        "seed": config.seed,
        "seeds": vars(config.seeds),
        "rounds_planned": config.rounds,
        "metric": config.dataset.task.metric,
    }
    relay(folder, plan, config.relay, facts)
    _log.info("results: %s", folder.path)
    return folder.path
