"""A post whose peers live in this process: a breakpoint works inside a peer, and nothing has to start up."""

from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from flwr.app import RecordDict

from dimat_flwr.peer import handle
from dimat_flwr.relay.post import Reply

# Called with (peer, kind of message, the peer's reply) before the reply is delivered.
Intercept = Callable[[int, str, RecordDict], RecordDict]


class LocalPost:
    """Delivers messages one after the other, in the order they were sent; each ``collect`` works one off.

    Peers keep their state here between messages, as Flower's ``context.state`` does.
    """

    simulation: bool = True
    out_of_reach = 0.0

    def __init__(
        self, peers: int, run_config: Mapping[str, Any], conf_dir: Path, intercept: Intercept | None = None
    ) -> None:
        """Prepare peers 0 to ``peers - 1``.

        Args:
            peers: how many.
            run_config: Flower's run-config.
            conf_dir: the folder ``conf/``.
            intercept: may look at replies and change them, as a peer that misbehaves would.
        """
        self._states = [RecordDict() for _ in range(peers)]
        self._run_config, self._conf_dir, self._intercept = dict(run_config), conf_dir, intercept
        self._waiting: deque[tuple[str, int, str, RecordDict]] = deque()
        self._sent = 0

    def nodes(self) -> list[int]:
        """Return the peers' indices: here, nodes are called like their places."""
        return list(range(len(self._states)))

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        """Queue a message and return its id."""
        self._sent += 1
        self._waiting.append((str(self._sent), node, kind, content))
        return str(self._sent)

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        """Let the peer of the oldest message do what it asks for, and return its reply; none if nothing waits."""
        if not self._waiting:
            return []
        message_id, peer, kind, content = self._waiting.popleft()
        reply = self.answer(peer, kind, content)
        if self._intercept is not None:
            reply = self._intercept(peer, kind, reply)
        return [Reply(message_id, reply)] if message_id in ids else []

    def forget(self, ids: Collection[str]) -> None:
        """Do nothing: what was sent here is answered, whoever waits for it."""

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        """Let a peer do what one message asks for, and return its reply; see ``peer.handle``."""
        return handle(kind, content, self._states[peer], self._run_config, {"partition-id": peer}, self._conf_dir)
