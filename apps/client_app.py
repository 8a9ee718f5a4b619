"""The ClientApp: one peer. Started by Flower, in a simulation or on a SuperNode."""

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

from dimat_flwr.peer import handle_setup, handle_step

app = ClientApp()
_CONF_DIR = Path(__file__).resolve().parent.parent / "conf"


@app.query("setup")
def setup(message: Message, context: Context) -> Message:
    """Join a run: claim a place and check data, model, device and disk."""
    return handle_setup(message, context, _CONF_DIR)


@app.train("step")
def step(message: Message, context: Context) -> Message:
    """Do one step of the run."""
    return handle_step(message, context, _CONF_DIR)
