"""Post over Flower's ``Grid``, which outlives outages of the SuperLink: what they may have lost is sent again."""

import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import TypeVar

from flwr.app import Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.serverapp import Grid

from dimat_flwr.relay.outages import Outages, status_of
from dimat_flwr.relay.post import Reply

_TRANSPORT = ("httpx", "httpcore", "grpc")  # whose errors are about the way to the SuperLink, not about a reply
_SERVER_ERROR = 500  # and above: it is the SuperLink's trouble with one reply; below, it takes nothing from us any more
_WAITS_S = (1, 2, 4, 8, 15, 30, 30, 30)  # between calls in which the SuperLink has trouble
T = TypeVar("T")
_log = getLogger("flwr")
# The message or its answer ran out of time, the node has no heartbeat, or its process died without an answer.
_TEMPORARY = (
    ErrorCode.MESSAGE_UNAVAILABLE,
    ErrorCode.REPLY_MESSAGE_UNAVAILABLE,
    ErrorCode.NODE_UNAVAILABLE,
    ErrorCode.CLIENT_APP_CRASHED,
)


@dataclass
class _Sent:
    """A message that is not answered yet.

    Attributes:
        node, kind, content: what was sent, and to whom.
        outages: how many there had been before.
        copies: Flower's ids of it: one, and one for each time that it was sent again.
    """

    node: int
    kind: str
    content: RecordDict
    outages: int
    copies: list[str]


class FlowerPost:
    """Messages through Flower: a simulation, or a SuperLink and its SuperNodes."""

    def __init__(self, grid: Grid) -> None:
        """Take Flower's way to the nodes."""
        self._grid, self._outages = grid, Outages(grid)
        self._sent: dict[str, _Sent] = {}  # by the id of the first copy, which is the message's for whoever sent it
        self.simulation = is_simulation(grid)

    @property
    def out_of_reach(self) -> float:
        """See ``Post``."""
        return self._outages.seconds

    def nodes(self) -> list[int]:
        """See ``Post``."""
        return sorted(_patiently(self._grid.get_node_ids))

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        """See ``Post``."""
        before = self._outages.count  # a device may be handed what is being pushed, and an outage take that along
        message_id = self._push(node, kind, content)
        if message_id and not self.simulation:
            self._sent[message_id] = _Sent(node, kind, content, before, [message_id])
        return message_id

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        """See ``Post``."""
        if self.simulation:
            return self._pull(ids)
        # In a deployment every reply is built from a peer's bytes when it is pulled, which may raise; and what was
        # asked for in the same breath would be lost, because a reply is handed out once. So one at a time.
        return [reply for message_id in ids if (reply := self._answer_to(message_id))]

    def forget(self, ids: Collection[str]) -> None:
        """See ``Post``."""
        for message_id in ids:
            self._sent.pop(message_id, None)

    def _push(self, node: int, kind: str, content: RecordDict) -> str:
        while True:
            before = self._outages.count
            try:
                # What was refused is left out of the answer (simulation) or None or "" in it (deployment).
                ids = list(_patiently(lambda: self._grid.push_messages([Message(content, node, kind)])))
            # Nobody knows how much of a message the SuperLink has that was killed while it took it, and Flower refuses
            # or raises when it goes on with that: so it is sent as a new one. A peer does nothing twice.
            except Exception:
                if self._outages.count == before:
                    raise
                continue
            if (ids and ids[0]) or self._outages.count == before:
                return ids[0] or "" if ids else ""

    def _answer_to(self, message_id: str) -> Reply | None:
        """Return the first answer to any copy of a message; an error of the kind that passes only if it is the last."""
        sent = self._sent.get(message_id)
        if sent is None:
            return None  # forgotten
        if sent.outages < self._outages.count:
            sent.outages = self._outages.count
            copy = self._push(sent.node, sent.kind, sent.content)
            sent.copies += [copy] if copy else []
        for copy in tuple(sent.copies):
            for reply in self._pull_one(copy):
                sent.copies.remove(copy)
                if reply.content is not None or not reply.temporary or not sent.copies:
                    del self._sent[message_id]
                    return Reply(message_id, reply.content, reply.error, reply.temporary)
        return None

    def _pull_one(self, message_id: str) -> list[Reply]:
        before = self._outages.count
        try:
            return self._pull([message_id])
        # Whatever else a peer's bytes make Flower raise is a fault of that reply, if it is not one of an outage.
        except Exception as error:
            status = status_of(error)
            is_transport = any(cls.__module__.split(".")[0] in _TRANSPORT for cls in type(error).__mro__)
            if is_transport if status is None else status < _SERVER_ERROR:
                raise
            told = f"the reply cannot be read: {type(error).__name__}: {error}"
            return [Reply(message_id, None, told, temporary=status is not None or self._outages.count > before)]

    def _pull(self, ids: Sequence[str]) -> list[Reply]:
        return _replies(self._grid.pull_messages(list(ids))) if ids else []


def _patiently(call: Callable[[], Iterable[T]]) -> Iterable[T]:
    """Call Flower, again and again for some minutes while the SuperLink has trouble, for example with a full disk."""
    for wait in _WAITS_S:
        try:
            return call()
        except Exception as error:
            if (status_of(error) or 0) < _SERVER_ERROR:
                raise
            _log.warning("the SuperLink has trouble (%s); it is asked again in %g s", error, wait)
            time.sleep(wait)
    return call()


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


def is_simulation(grid: Grid) -> bool:
    """Whether a Grid has its nodes in this process, as in a simulation."""
    # By name: the class is not public, and importing its module takes a second.
    return any(cls.__name__ == "InMemoryGrid" for cls in type(grid).__mro__)
