"""What the relay alone tells, of a peer."""

from typing import Annotated, ClassVar

from pydantic import BeforeValidator, Field
from pydantic.dataclasses import dataclass

from dimat_flwr.events.fields import (
    MAX_ERROR,
    MAX_INTEGER,
    MAX_PEERS,
    MAX_REASON,
    STRICT,
    Absence,
    Error,
    Index,
    Reason,
    clip,
)


@dataclass(frozen=True, config=STRICT)
class Failure:
    """A peer is out for the rest of the run; the text is cleaned and clipped, whoever wrote it."""

    kind: ClassVar[str] = "failure"
    error: Annotated[Error, BeforeValidator(lambda text: clip(text, MAX_ERROR) if isinstance(text, str) else text)]


@dataclass(frozen=True, config=STRICT)
class Late:
    """``reader`` went on without this peer, which is still at work."""

    kind: ClassVar[str] = "late"
    reader: Index


@dataclass(frozen=True, config=STRICT)
class Absent:
    """``reader`` went on without this peer, and why."""

    kind: ClassVar[str] = "absent"
    reader: Index
    reason: Absence


@dataclass(frozen=True, config=STRICT)
class CaughtUp:
    """A late peer is back, and how many exchanges passed without it."""

    kind: ClassVar[str] = "caught_up"
    exchanges_skipped: Index


@dataclass(frozen=True, config=STRICT)
class Away:
    """A peer cannot be reached; it is asked again when it is back."""

    kind: ClassVar[str] = "away"
    reason: Annotated[Error, BeforeValidator(lambda text: clip(text, MAX_REASON) if isinstance(text, str) else text)]


@dataclass(frozen=True, config=STRICT)
class Returned:
    """A peer that was away, or whose answer did not come, is asked again."""

    kind: ClassVar[str] = "returned"


@dataclass(frozen=True, config=STRICT)
class Resumed:
    """The run is gone on with: this peer from the exchange ``after`` (-1: from its beginning), and why from there."""

    kind: ClassVar[str] = "resumed"
    after: Annotated[int, Field(strict=True, ge=-1, le=MAX_INTEGER)]
    reason: Reason


@dataclass(frozen=True, config=STRICT)
class Vacant:
    """Nobody is in this place when the run begins."""

    kind: ClassVar[str] = "vacant"


@dataclass(frozen=True, config=STRICT)
class Joined:
    """A peer has come into this place during the run, and begins with this exchange."""

    kind: ClassVar[str] = "joined"


@dataclass(frozen=True, config=STRICT)
class Redrawn:
    """From this round on the graphs are drawn over others, because of this peer: without some places, with others."""

    kind: ClassVar[str] = "redrawn"
    left: Annotated[list[Index], Field(max_length=MAX_PEERS)]
    joined: Annotated[list[Index], Field(max_length=MAX_PEERS)]


@dataclass(frozen=True, config=STRICT)
class Unobserved:
    """Instruments see nothing from this exchange on: this peer is out, which they bring the others' models to."""

    kind: ClassVar[str] = "unobserved"


@dataclass(frozen=True, config=STRICT)
class Muted:
    """A peer used up its share of the record: so many of its events are not in it."""

    kind: ClassVar[str] = "muted"
    dropped: Index
