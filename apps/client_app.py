"""The ClientApp: one peer. Started by Flower, in a simulation or on a SuperNode."""

from pathlib import Path

from flwr.app import Context, Message
from flwr.clientapp import ClientApp

app = ClientApp()
_APP_DIR = Path(__file__).resolve().parent.parent


@app.query("setup")
def setup(message: Message, context: Context) -> Message:
    """Join a run: claim a place and check data, model, device and disk."""
    return _answer(message, context)


@app.query("meet")
def meet(message: Message, context: Context) -> Message:
    """Look at whom the relay introduces, in a run that signs."""
    return _answer(message, context)


@app.query("restore")
def restore(message: Message, context: Context) -> Message:
    """Go back to what a run that is gone on with needs, and answer an exchange once more."""
    return _answer(message, context)


@app.train("exchange")
def exchange(message: Message, context: Context) -> Message:
    """Do one exchange of the run."""
    return _answer(message, context)


def _answer(message: Message, context: Context) -> Message:
    # Imported here, so that what looks at the app without running it, or has a worker, loads no torch.
    from dimat_flwr.worker.ask import ask

    kind = message.metadata.message_type
    done = ask(kind, message.content, context, _APP_DIR)
    if done is None:
        from dimat_flwr.peer import handle

        config = context.run_config, context.node_config
        content = handle(kind, message.content, context.state, *config, _APP_DIR / "conf")
    else:
        content, context.state = done
    return Message(content, reply_to=message)
