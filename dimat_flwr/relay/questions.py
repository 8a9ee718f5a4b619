"""Questions to nodes before they are peers, each asked again where it or its answer gets lost on the way.

A node goes between the look at who is there and the question, its process dies over it, or the SuperLink is away just
then: that says nothing against the node. So it is asked again when it is there, some times; in a simulation not, since
nobody goes there and comes back.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Generic, TypeVar

from flwr.app import RecordDict

from dimat_flwr.relay.post import Post, Reply

K = TypeVar("K")
TRIES = 3  # times that the same message is sent, where it was lost or refused
REFUSED = "Flower refused a message to it; is the node still connected?"


@dataclass(frozen=True)
class _Question(Generic[K]):
    key: K
    node: int
    kind: str
    content: RecordDict
    tries: int = 1

    def again(self) -> "_Question[K]":
        return _Question(self.key, self.node, self.kind, self.content, self.tries + 1)


class Questions(Generic[K]):
    """Questions that are under way, and those that are to be asked again; a key says what each is about."""

    def __init__(self, post: Post) -> None:
        """Take the way to the nodes."""
        self._post = post
        self._asked: dict[str, _Question[K]] = {}  # by message
        self._lost: list[_Question[K]] = []
        self._answers: list[tuple[K, Reply]] = []  # of those that are not asked again

    def ask(self, key: K, node: int, kind: str, content: RecordDict) -> None:
        """Send a question; the answer says which it was by the key."""
        self._send(_Question(key, node, kind, content))

    def open(self) -> dict[K, int]:
        """Return key -> node of what is not answered yet."""
        return {question.key: question.node for question in (*self._asked.values(), *self._lost)}

    def ask_again(self, connected: Collection[int]) -> None:
        """Send what was lost again to those who are there."""
        lost, self._lost = self._lost, []
        for question in lost:
            if question.node in connected:
                self._send(question.again())
            else:
                self._lost.append(question)

    def forget_all_but(self, connected: Collection[int]) -> None:
        """Wait for nothing more from other nodes."""
        self._post.forget([key for key, question in self._asked.items() if question.node not in connected])
        self._asked = {key: question for key, question in self._asked.items() if question.node in connected}
        self._lost = [question for question in self._lost if question.node in connected]

    def collect(self) -> list[tuple[K, Reply]]:
        """Return the answers that are there, each with its key: contents, and errors that asking again is no help for.

        The reply to a message that Flower refused has no id.
        """
        for reply in self._post.collect(list(self._asked)) if self._asked else ():
            question = self._asked.pop(reply.message_id, None)
            if question is not None:
                self._hear(question, reply)
        found, self._answers = self._answers, []
        return found

    def _send(self, question: _Question[K]) -> None:
        message_id = self._post.send(question.node, question.kind, question.content)
        if message_id:
            self._asked[message_id] = question
        else:
            self._hear(question, Reply("", None, REFUSED, temporary=True))

    def _hear(self, question: _Question[K], reply: Reply) -> None:
        if reply.content is None and reply.temporary and question.tries < TRIES and not self._post.simulation:
            self._lost.append(question)
        else:
            self._answers.append((question.key, reply))
