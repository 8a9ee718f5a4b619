"""One run from its run-config: check the configuration, open the record, relay."""

from collections.abc import Callable, Mapping
from datetime import datetime
from logging import getLogger
from pathlib import Path
from typing import Any, Protocol

from omegaconf import OmegaConf

from dimat_flwr.config import Config, ConfigError, load_config
from dimat_flwr.config.membership import graph_stays
from dimat_flwr.config.resume import find_run, require_same, with_news
from dimat_flwr.records import ContinuedFolder, RecordsError, RunFolder, load_summary
from dimat_flwr.records.headline import final_line
from dimat_flwr.relay import MembershipError, Plan, PlanError, RelaySettings, SetupError
from dimat_flwr.relay.longer_run import shared
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


def launch(
    run_config: Mapping[str, Any], conf_dir: Path, command: str, relay: RelayRun, folder_name: str | None = None
) -> Path:
    """Do a whole run and return the folder with its results.

    Args:
        run_config: Flower's run-config; with ``resume-from`` a run is gone on with, in its own folder.
        conf_dir: the folder ``conf/``.
        command: what makes this run again, for the record.
        relay: relays it.
        folder_name: what the run's folder below output-dir is called, which must not be there yet; None: the date and
            the run's name.

    Raises:
        ConfigError: the configuration has faults; nothing was started, and no folder was made.
        RecordsError: the record cannot be written.
        Exception: what ``relay.run_relay`` raises.
    """
    place = find_run(run_config, conf_dir)
    earlier = None if place is None else _open(*place)
    if place and earlier:
        run_config = with_news(earlier.settings, run_config)
    config = load_config({**run_config, "output-dir": place[0]} if place else run_config, {}, conf_dir)
    rounds_before = config.rounds
    if earlier:
        rounds_before = _require_continuable(earlier, config)
    now = None if folder_name else datetime.now().astimezone()
    folder = earlier or RunFolder.create(config.output_dir, folder_name or config.name, now)
    folder.write_config(config.text, command)
    folder.write_settings({key: value for key, value in run_config.items() if value != ""})
    folder.write_through = config.checkpoint.save != "never"
    _log.info("%s", _headed(config))

    if config.final_merge.needs_common_frame and config.algorithm.keeps_own_frames:
        _log.warning(
            "final_merge '%s' averages units as they stand, but '%s' leaves every peer its own order of them: expect a "
            "much worse model; final_merge=aligned aligns them first",
            config.choices["final_merge"],
            config.choices["algorithm"],
        )

    def plan(peers: int) -> Plan:
        made = plan_of(config, peers, config.rounds)
        if rounds_before != config.rounds:
            made.shared = shared(made, plan_of(config, peers, rounds_before))
        return made

    facts = {
        **config.choices,
        "seed": config.seed,
        "seeds": vars(config.seeds),
        "rounds_planned": config.rounds,
        "metric": config.dataset.task.metric,
    }
    try:
        relay(folder, plan, config.relay, facts)
    except KeyboardInterrupt:
        _log.info("stopped; what there was until then: %s", folder.path)
        raise
    summary = load_summary(folder.path)
    reason = f" ({summary['reason']})" if summary["reason"] else ""
    _log.info("%s%s: %s", summary["status"], reason, final_line(summary))
    _log.info("results: %s", folder.path)
    return folder.path


def plan_of(config: Config, peers: int, rounds: int) -> Plan:
    """Return the exchanges of a run of so many peers and rounds.

    Raises:
        TopologyError, ScheduleError, PlanError: there is no such plan.
    """
    made = Plan(
        config.algorithm,
        config.final_merge,
        config.topology,
        config.schedule,
        peers=peers,
        rounds=rounds,
        seed=config.seeds.graph,
        instruments=config.instruments,
        shortage=None if config.aggregation.is_mean else config.aggregation.shortage,
        graph_stays=graph_stays(config),
    )
    if config.correction.needs_one_symmetric_mixing:
        made.require_one_symmetric_mixing(f"correction '{config.choices['correction']}'")
    return made


def _headed(config: Config) -> str:
    """Return what a run is, as it is told before it begins: what most people choose comes first."""
    first = [group for group in ("experiment", "algorithm") if group in config.choices]
    order = [*first, *(group for group in reversed(list(config.choices)) if group not in first)]
    told = [*((group, config.choices[group]) for group in order), ("rounds", config.rounds), ("seed", config.seed)]
    return "  ".join(f"{key}: {value}" for key, value in told)


def _open(output_dir: str, name: str) -> ContinuedFolder:
    folder = ContinuedFolder((Path(output_dir).expanduser() / name).absolute())
    _log.info("going on with %s", folder.path)
    return folder


def _require_continuable(earlier: ContinuedFolder, config: Config) -> int:
    """Refuse to go on with a run that would be another one; return how many rounds it was to have so far."""
    before = earlier.config_text()
    require_same(before, config.text)
    if Path(config.output_dir).expanduser().absolute() != earlier.path.parent:
        raise ConfigError(
            [f"the run lies in {earlier.path.parent}, but its overrides set output_dir={config.output_dir}"]
        )
    rounds = int(OmegaConf.create(before).rounds)
    changed = [r for r in range(rounds + 1) if not _same_lr(config, r, rounds)] if rounds != config.rounds else []
    if changed:
        _log.warning(
            "lr_schedule '%s' depends on the number of rounds: until now its learning rates were those of a run of %d "
            "rounds, from now on they are those of %d",
            config.choices["lr_schedule"],
            rounds,
            config.rounds,
        )
    return rounds


def _same_lr(config: Config, round: int, rounds: int) -> bool:
    factor = config.lr_schedule.factor
    return factor(round, max(1, rounds)) == factor(round, max(1, config.rounds))
