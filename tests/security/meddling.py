"""Whole runs whose relay reads, keeps and changes what passes through it."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from flwr.app import ConfigRecord, RecordDict

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.peer import handle
from dimat_flwr.relay import run_relay
from dimat_flwr.security.key_files import write_identity
from dimat_flwr.wire import names
from dimat_flwr.wire.payload import from_record, to_record
from tests.in_process_app import ROOT, Run

PEERS = 4
TINY = (
    "training.pretrain_epochs=1 training.local_epochs=1 dataset.train_samples=100 dataset.test_samples=60 "
    "model.width=1 optimizer.lr=0.01"
)
SIGN, SEAL = "security.sign=true", "security.sign=true security.seal=true"


class Letter:
    """A message to a peer on its way through the relay, which may change it."""

    def __init__(self, peer: int, content: RecordDict, post: "MeddlingPost") -> None:
        self.peer, self.content, self.post = peer, content, post
        self.instruction: dict[str, Any] = json.loads(str(content[names.INSTRUCTION]["json"]))

    @property
    def round(self) -> int:
        return int(self.instruction["round"])

    @property
    def held(self) -> list[RecordDict]:
        """All that the relay has sent and got so far."""
        return self.post.held

    def blob(self, source: int) -> bytes:
        return from_record(self.content[names.inbox(source)])

    def replace(self, source: int, blob: bytes) -> None:
        self.content[names.inbox(source)] = to_record(blob)

    def tell(self, **fields: object) -> None:
        """Change the instruction."""
        self.instruction |= fields
        self.content[names.INSTRUCTION] = ConfigRecord({"json": json.dumps(self.instruction)})


Meddle = Callable[[Letter], object]


class MeddlingPost(LocalPost):
    """Lets the relay meddle with every exchange's message, and keeps all that it ever held."""

    def __init__(self, meddle: Meddle, nodes: Mapping[int, Mapping[str, Any]], *args: Any) -> None:
        super().__init__(*args)
        self._meddle, self._nodes = meddle, nodes
        self.held: list[RecordDict] = []

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        content = RecordDict(dict(content))
        if kind == names.EXCHANGE_MESSAGE:
            self._meddle(Letter(node, content, self))
        self.held.append(content)
        return super().send(node, kind, content)

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        node = {"partition-id": peer, **self._nodes.get(peer, {})}
        reply = handle(kind, content, self._states[peer], self._run_config, node, self._conf_dir)
        self.held.append(reply)
        return reply


def meddled(
    output: Path,
    overrides: str,
    meddle: Meddle = lambda letter: None,
    *,
    simulation: bool = True,
    nodes: Mapping[int, Mapping[str, Any]] | None = None,
    post: type[MeddlingPost] = MeddlingPost,
    **settings: Any,
) -> tuple[Run, MeddlingPost]:
    """Run four peers on a ring of digits.

    Args:
        output: where results go.
        overrides: Hydra's, beside ``TINY``.
        meddle: called with every message of an exchange before it is sent.
        simulation: whether the relay is told that it is one.
        nodes: peer -> what its ``--node-config`` has besides its place.
        post: carries the messages.
        settings: of the run-config.
    """
    config = {"rounds": 2, "algorithm": "weight_averaging", "output-dir": str(output), **settings}
    config["overrides"] = f"{TINY} {overrides}"
    carrier = post(meddle, nodes or {}, PEERS, config, ROOT / "conf")
    carrier.simulation = simulation
    return Run(launch(config, ROOT / "conf", "pytest", lambda *run: run_relay(carrier, *run))), carrier


def key_files(folder: Path) -> str:
    """Write an identity for each peer and a file with all of them; return the overrides that name them."""
    publics = [write_identity(folder / f"key-{peer}").public for peer in range(PEERS)]
    (folder / "known_peers").write_text("".join(f"{place} {public}\n" for place, public in enumerate(publics)))
    return f"{SEAL} \"security.key_file='{folder}/key-{{peer}}'\" security.known_peers={folder}/known_peers"
