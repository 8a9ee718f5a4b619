"""The ServerApp: relays one run. Started by Flower (``flwr run``)."""

import sys
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

app = ServerApp()
_APP_DIR = Path(__file__).resolve().parent.parent


@app.main()
def main(grid: Grid, context: Context) -> None:
    """Relay one run."""
    # Imported here, so that what looks at the app without running it loads no torch.
    from dimat_flwr.config.command import flwr_command
    from dimat_flwr.launch import REFUSALS, launch
    from dimat_flwr.relay.flower_post import is_simulation
    from dimat_flwr.relay.strategy import Relay

    supernodes = len(list(grid.get_node_ids())) if is_simulation(grid) else None
    command = flwr_command(context.run_config, _APP_DIR / "pyproject.toml", supernodes)
    try:
        launch(context.run_config, _APP_DIR / "conf", command, lambda *run: Relay(*run).start(grid))
    except REFUSALS as error:
        # The text says all there is to say; where in the code it was found helps nobody. Flower prints whatever is
        # raised with the calls that led to it, twenty lines of them, and then ends the process, if it is its own.
        if Path(sys.argv[0]).stem in ("flwr-simulation", "flwr-serverapp"):
            sys.tracebacklimit = 0
        raise error from None
