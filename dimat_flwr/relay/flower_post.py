"""Post over Flower's ``Grid``."""

from collections.abc import Iterable, Sequence

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from dimat_flwr.relay.post import Reply

_TRANSPORT = ("httpx", "httpcore", "grpc")  # whose errors are about the way to the SuperLink, not about a reply
# The message or its answer ran out of time, the node has no heartbeat, or its process died without an answer.
_TEMPORARY = (
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.CLIENT_APP_CRASHED,
)


class FlowerPost:
    """Messages through Flower: a simulation, or a SuperLink and its SuperNodes."""

    def __init__(self, grid: Grid) -> None:
        """Take Flower's way to the nodes."""
        self._grid = grid
        self.simulation = _is_simulation(grid)

    def nodes(self) -> list[int]:
        """See ``Post``."""
        return sorted(self._grid.get_node_ids())

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        """See ``Post``."""
        # What was refused is left out of the answer (simulation) or None in it (deployment).
        ids = list(self._grid.push_messages([Message(content, node, kind)]))
        return ids[0] or "" if ids else ""

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        """See ``Post``."""
        if self.simulation:
            return self._pull(ids)
        # In a deployment every reply is built from a peer's bytes when it is pulled, which may raise; and what was
        # asked for in the same breath would be lost, because a reply is handed out once. So one at a time.
        return [reply for message_id in ids for reply in self._pull_one(message_id)]

    def _pull_one(self, message_id: str) -> list[Reply]:
        try:
            return self._pull([message_id])
        # Whatever else a peer's bytes make Flower raise is a fault of that reply.
        except Exception as error:
            if any(cls.__module__.split(".")[0] in _TRANSPORT for cls in type(error).__mro__):
                raise
            return [Reply(message_id, None, f"the reply cannot be read: {type(error).__name__}: {error}")]

    def _pull(self, ids: Sequence[str]) -> list[Reply]:
        return _replies(self._grid.pull_messages(list(ids))) if ids else []


def _replies(messages: Iterable[Message]) -> list[Reply]:
    found = []
    for message in messages:
        answered = message.metadata.reply_to_message_id
        if message.has_error():
            reason = message.error.reason or "the node reported an error without a reason"
            found.append(Reply(answered, None, reason, message.error.code in _TEMPORARY))
        else:
            found.append(Reply(answered, message.content))
    return found


def _is_simulation(grid: Grid) -> bool:
    # By name: the class is not public, and importing its module takes a second.
    return any(cls.__name__ == "InMemoryGrid" for cls in type(grid).__mro__)
