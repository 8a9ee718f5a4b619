"""The ServerApp: reads the configuration, then relays. Started by Flower (``flwr run``)."""

from datetime import datetime
from logging import getLogger
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.config.command import flwr_command
from dimat_flwr.records import RecordsError, RunFolder
from dimat_flwr.relay import MembershipError, SetupError, Step, is_simulation, make_plan, run_relay
from dimat_flwr.topology import ScheduleError, TopologyError

app = ServerApp()
_REFUSALS = (ConfigError, TopologyError, ScheduleError, MembershipError, SetupError, RecordsError)
_APP_DIR = Path(__file__).resolve().parent.parent
_log = getLogger("flwr")


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Relay one run."""
    try:
        serve(grid, context, _APP_DIR, _APP_DIR / "conf")
    except _REFUSALS as error:
        # The text says all there is to say; where in the code it was found helps nobody.
        raise error.with_traceback(None) from None


def serve(grid: Grid, context: Context, app_dir: Path, conf_dir: Path) -> None:
    """Check the configuration, relay the run and say where its results are.

    Args:
        grid: Flower's way to the peers.
        context: holds the run-config.
        app_dir: the folder of pyproject.toml, which has the defaults.
        conf_dir: the folder ``conf/``.
    """
    config = load_config(context.run_config, {}, conf_dir)
    simulation = is_simulation(grid)
    supernodes = len(list(grid.get_node_ids())) if simulation else None
    command = flwr_command(context.run_config, app_dir / "pyproject.toml", supernodes)
    folder = RunFolder.create(config.output_dir, config.name, datetime.now().astimezone())
    folder.write_config(config.text, command)
    _log.info("%s", "  ".join(f"{group}: {choice}" for group, choice in config.choices.items()))

    def plan(peers: int) -> list[Step]:
        parts = config.algorithm, config.topology, config.schedule
        return make_plan(*parts, peers=peers, rounds=config.rounds, seed=config.seed)

    facts = {**config.choices, "seed": config.seed, "rounds_planned": config.rounds}
    run_relay(grid, folder, plan, settings=config.relay, facts=facts, simulation=simulation)
    _log.info("results: %s", folder.path)
