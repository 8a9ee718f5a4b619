"""What is handed over to a worker: one message with all that working it off needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.worker.errors import LineError
from dimat_flwr.worker.line import Line
from dimat_flwr.worker.parcel import receive_records, send_records

Scalars = Mapping[str, Any]
Handler = Callable[[str, RecordDict, RecordDict, Scalars, Scalars, Path], RecordDict]


@dataclass(frozen=True)
class Errand:
    """See ``dimat_flwr.peer.messages.handle``, whose arguments these are, in that order.

    Attributes:
        kind: of the message.
        content: its records.
        state: what the peer keeps from message to message.
        run_config: Flower's run-config.
        node_config: the device's own.
        conf_dir: the folder ``conf/``.
    """

    kind: str
    content: RecordDict
    state: RecordDict
    run_config: Scalars
    node_config: Scalars
    conf_dir: Path

    def send(self, line: Line) -> None:
        """Send it; raises ``LineError``."""
        configs = {"run_config": dict(self.run_config), "node_config": dict(self.node_config)}
        line.say("errand", message=self.kind, conf_dir=str(self.conf_dir), **configs)
        send_records(line, self.content)
        send_records(line, self.state)

    @classmethod
    def receive(cls, line: Line) -> "Errand":
        """Return one that was sent.

        Raises:
            LineError: what came is none.
        """
        match line.hear():
            case {
                "kind": "errand",
                "message": str(message),
                "conf_dir": str(conf_dir),
                "run_config": dict(run_config),
                "node_config": dict(node_config),
            }:
                content, state = receive_records(line), receive_records(line)
                return cls(message, content, state, run_config, node_config, Path(conf_dir))
        raise LineError("what came is no errand")
