"""A Flower grid whose nodes are functions in this process, for testing the relay without a SuperLink."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import uuid4

from flwr.app import Error, Message
from flwr.serverapp import Grid
from flwr.supercore.run import Run
from flwr.supercore.task_identity import TaskIdentity

Handler = Callable[[Message], Message]


class FunctionGrid(Grid):
    """Delivers each message to its node's handler in a thread pool; what a handler raises becomes an error reply."""

    def __init__(self, handlers: dict[int, Handler], workers: int = 2) -> None:
        TaskIdentity.run_id, TaskIdentity.node_id, TaskIdentity.task_id = 1, 1, 1  # every Message carries them
        self._handlers = handlers
        self._pool = ThreadPoolExecutor(workers)
        self._replies: dict[str, Future[Message]] = {}

    def set_run(self, run: Run) -> None:
        raise TypeError("a grid in memory has no run")

    @property
    def run(self) -> Run:
        raise TypeError("a grid in memory has no run")

    def create_message(self, *args: object, **kwargs: object) -> Message:
        raise TypeError("deprecated in Flower")

    def get_node_ids(self) -> Iterable[int]:
        return list(self._handlers)

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        ids = []
        for message in messages:
            message.metadata.__dict__["_message_id"] = str(uuid4())
            ids.append(message.metadata.message_id)
            self._replies[ids[-1]] = self._pool.submit(self._deliver, message)
        return ids

    def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
        ready = [key for key in message_ids if self._replies[key].done()]
        return [self._replies.pop(key).result() for key in ready]

    def send_and_receive(self, messages: Iterable[Message], *, timeout: float | None = None) -> Iterable[Message]:
        raise TypeError("the relay polls")

    def _deliver(self, message: Message) -> Message:
        try:
            return self._handlers[message.metadata.dst_node_id](message)
        except Exception as error:  # noqa: BLE001 - as Flower does with what a ClientApp raises
            return Message(Error(code=0, reason=f"{type(error).__name__}: {error}"), reply_to=message)
