"""The relay's narrow way to its peers: seven members, so that nothing of Flower's transport leaks into the relay."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from flwr.app import RecordDict


@dataclass(frozen=True)
class Reply:
    """What came back for one message: a content, or an error.

    Attributes:
        message_id: of the message that this answers.
        content: what the peer sent, which may be anything; None where there is an error.
        error: why there is no content.
        temporary: whether the node may be back, and the message should be sent again then.
    """

    message_id: str
    content: RecordDict | None
    error: str | None = None
    temporary: bool = False


class Post(Protocol):
    """Carries messages to nodes and replies back."""

    @property
    def simulation(self) -> bool:
        """Whether all peers run in one simulation, where messages queue for workers out of the relay's sight."""

    @property
    def out_of_reach(self) -> float:
        """For how many seconds so far nobody could be reached, which made nobody late."""

    def nodes(self) -> list[int]:
        """Return the ids of the connected nodes, ascending."""

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        """Send a message of a kind (``wire.names``) and return its id; "" where it was refused."""

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        """Return the replies that are there for these messages, each once; without waiting for any."""

    def forget(self, ids: Collection[str]) -> None:
        """Take note that nobody waits for the replies to these messages any more."""
