"""What the fields of events may hold: limits for every one, so that no report can weigh more than a few kilobytes."""

import re
from typing import Annotated, Literal, get_args

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

MAX_REPORT_BYTES = 32_000
MAX_EVENTS = 200
MAX_LABEL = 200
MAX_GROUPS = 1000
MAX_REASON = 500
MAX_ERROR = 20_000
MAX_PEERS = 1_000_000
MAX_INTEGER = 2**53  # what every reader of JSON holds exactly
MAX_FIGURE = 1e100  # above this a figure says "diverged", and its square would overflow in a mean or a spread

Stage = Literal["after_merge", "after_training"]
STAGES: tuple[Stage, ...] = get_args(Stage)
Absence = Literal["failed", "late", "rejected"]  # why a source's payload is missing

# Control characters but \n and \t, lone surrogates, and what splits or reverses a line in a terminal or an editor.
_UNCLEAN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
STRICT = ConfigDict(extra="forbid")


def is_clean(text: str) -> bool:
    """Whether a text may stand in a record: valid Unicode without control characters, line feed and tab aside."""
    return _UNCLEAN.search(text) is None


def clip(text: str, limit: int) -> str:
    """Return the text cleaned and, if it is too long, its end: where a traceback says what happened.

    Args:
        text: any text, of any length.
        limit: characters that the result may have, at least 4.
    """
    if len(text) > limit:
        text = "... " + text[len(text) - (limit - 4) :]
    return _UNCLEAN.sub("?", text)


def clean(text: str) -> str:
    """Return a text that may stand in a record; ``ValueError`` for another."""
    if not is_clean(text):
        raise ValueError("holds control characters or half a surrogate pair")
    return text


def finite(value: object) -> object:
    """Turn what JSON does not have, and what has diverged, into None; in a list, too, but not in lists in it."""
    if isinstance(value, list | tuple):
        return [None if diverged(item) else item for item in value]
    return None if diverged(value) else value


def diverged(value: object) -> bool:
    """Whether it is a number that JSON does not have, or that no honest figure comes to."""
    return isinstance(value, float) and not abs(value) <= MAX_FIGURE


def stays_below(path: str) -> str:
    """Return a path below the run's folder; ``ValueError`` for another."""
    if path.startswith("/") or "\\" in path or ".." in path.split("/"):
        raise ValueError("is not a path below the run's folder")
    return path


Index = Annotated[int, Field(strict=True, ge=0, le=MAX_INTEGER)]
Integer = Annotated[int, Field(strict=True, ge=-MAX_INTEGER, le=MAX_INTEGER)]
Real = Annotated[float, Field(strict=True, ge=-MAX_FIGURE, le=MAX_FIGURE)]
Seconds = Annotated[float, Field(strict=True, ge=0, le=MAX_FIGURE)]
Share = Annotated[float, Field(strict=True, ge=0, le=1)]
Percentage = Annotated[Annotated[float, Field(strict=True, ge=0, le=100)] | None, BeforeValidator(finite)]
Figure = Annotated[Real | None, BeforeValidator(finite)]
Key = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(clean)]
Label = Annotated[str, Field(max_length=MAX_LABEL), AfterValidator(clean)]
Reason = Annotated[str, Field(max_length=MAX_REASON), AfterValidator(clean)]
Error = Annotated[str, Field(max_length=MAX_ERROR), AfterValidator(clean)]
Figures = Annotated[list[Figure], Field(max_length=256)]
Value = Annotated[Integer | Real | Label | Figures | None, BeforeValidator(finite)]
