"""A payload (what a peer publishes for an exchange) to and from one blob, checked before anything uses it.

The blob is a safetensors file (https://github.com/huggingface/safetensors#format): 8 bytes with the header's length,
little-endian; the header, JSON with each tensor's type, shape and place; the tensors' bytes. A payload's numbers are
the header's ``__metadata__``, written so that they come back to the last bit. Written and read here, because what the
reader expects is known beforehand: that makes the check exact and costs one copy of the data.
"""

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from typing import Any

import torch
from torch import Tensor
from torch._utils import _flatten_dense_tensors, _unflatten_dense_tensors

from dimat_flwr.wire.blob import PayloadError, from_record, to_record

__all__ = ["Expected", "Payload", "PayloadError", "from_record", "pack", "to_record", "unpack", "unpack_own"]

MAX_NUMBERS = 64
MAX_NAME = 500  # characters of a tensor's or number's name

_METADATA = "__metadata__"
_TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_DTYPES = {name: dtype for dtype, name in _TYPES.items()}
_NUMBER = re.compile(r"-?0x[01]\.[0-9a-f]{1,13}p[+-][0-9]{1,4}")  # what float.hex writes


@dataclass(frozen=True)
class Payload:
    """What one peer publishes for one exchange.

    Attributes:
        tensors: name -> tensor of any shape, for instance a state dict.
        numbers: name -> number that travels beside the tensors: a push-sum weight, a count in a relay sum, the round
            of origin.
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Expected:
    """What a payload must look like to be accepted: exactly these tensors and numbers, all of them finite.

    Attributes:
        tensors: name -> a tensor of the shape and type that the payload's must have; its values do not matter.
        numbers: name -> (smallest, largest) value that the payload's number may have.
    """

    tensors: Mapping[str, Tensor]
    numbers: Mapping[str, tuple[float, float]] = field(default_factory=dict)


def pack(payload: Payload) -> bytes:
    """Return a payload as one blob.

    Raises:
        PayloadError: a tensor's type or name, or the number of numbers, is not one that ``unpack`` takes.
    """
    # Larger elements first: so every tensor starts at a multiple of its element's size.
    ordered = sorted(payload.tensors.items(), key=lambda item: -item[1].element_size())
    entries = _entries(tuple((name, tensor.dtype, tensor.shape) for name, tensor in ordered))
    if payload.numbers:
        numbers = {name: float(value).hex() for name, value in payload.numbers.items()}
        if len(numbers) > MAX_NUMBERS:
            raise PayloadError(f"a payload has {len(numbers)} numbers; at most {MAX_NUMBERS} can be sent")
        entries = ",".join(filter(None, (f'"{_METADATA}":{_compact(numbers)}', entries)))
    text = f"{{{entries}}}".encode()
    text += b" " * (-len(text) % 8)
    with torch.no_grad():
        # Neighbours of one type are put in a row by one call: a call for each costs more than the copy does.
        runs = groupby((tensor.cpu() for _, tensor in ordered), lambda tensor: tensor.dtype)
        rows = [_flatten_dense_tensors(list(run)) for _, run in runs]  # type: ignore[no-untyped-call]
    parts = [row.view(torch.uint8).numpy().data for row in rows]
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


@lru_cache(maxsize=16)  # a peer's payloads, and its states, are of one form for the whole run
def _entries(form: tuple[tuple[str, torch.dtype, torch.Size], ...]) -> str:
    """Return what the header says of tensors, without its braces.

    Args:
        form: (name, type, shape) in the order in which they lie.

    Raises:
        PayloadError: a type or name is not one that ``unpack`` takes.
    """
    entries: dict[str, Any] = {}
    end = 0
    for name, dtype, shape in form:
        if dtype not in _TYPES:
            raise PayloadError(f"tensor '{name}' is of type {dtype}, which cannot be sent; convert it first")
        if not 0 < len(name) <= MAX_NAME or name == _METADATA:
            raise PayloadError(f"a tensor cannot be sent under the name '{name}'")
        start, end = end, end + shape.numel() * dtype.itemsize
        entries[name] = {"dtype": _TYPES[dtype], "shape": list(shape), "data_offsets": [start, end]}
    return _compact(entries)[1:-1]


def _compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def unpack(blob: bytes, expected: Expected) -> Payload:
    """Read a neighbour's payload, trusting nothing about it.

    Args:
        blob: the bytes that arrived.
        expected: what they must hold.

    Returns:
        The payload: CPU tensors in the order expected, writable, none sharing memory with the blob.

    Raises:
        PayloadError: a tensor or number is missing, unexpected, of another shape or type, outside its bounds or not
            finite; or the bytes are no payload at all.
    """
    like = expected.tensors
    start = _check_size(blob, like)
    layout = _read_layout(blob[8:start], tuple((name, tensor.dtype, tensor.shape) for name, tensor in like.items()))
    numbers = _read_numbers(layout.numbers, expected.numbers)
    data = bytearray(memoryview(blob)[start:])  # the one copy: aligned, writable, and the caller's own
    found: dict[str, Tensor] = {}
    for run in layout.runs:
        elements = run.elements(data)
        if not _is_sound(elements):
            bad = next(name for name, tensor in run.split(elements) if not _is_sound(tensor))
            raise PayloadError(f"tensor '{bad}' holds NaN or infinite values, or truth values that are neither 0 nor 1")
        found.update(run.split(elements))
    return Payload({name: found[name] for name in like}, numbers)


def unpack_own(blob: bytes) -> dict[str, Tensor]:
    """Return the tensors of a blob that this peer packed itself, in one copy of its data; nothing is checked."""
    start = 8 + int.from_bytes(blob[:8], "little")
    runs = _read_own_layout(blob[8:start])
    data = bytearray(memoryview(blob)[start:])
    return {name: tensor for run in runs for name, tensor in run.split(run.elements(data))}


@dataclass(frozen=True, eq=False)
class _Run:
    """Neighbouring tensors of one type within a blob's data.

    Attributes:
        dtype: of all of them.
        start: of the first, in bytes.
        shapes: name -> a tensor of that shape, in the order in which they lie.
    """

    dtype: torch.dtype
    start: int
    shapes: dict[str, Tensor] = field(default_factory=dict)

    def elements(self, data: bytearray) -> Tensor:
        """Return all their elements in a row, in the memory of ``data``."""
        count = sum(shape.numel() for shape in self.shapes.values())
        if not count:
            return torch.empty(0, dtype=self.dtype)
        return torch.frombuffer(data, dtype=self.dtype, count=count, offset=self.start)

    def split(self, elements: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield (name, tensor) in the same memory."""
        split = _unflatten_dense_tensors(elements, tuple(self.shapes.values()))  # type: ignore[no-untyped-call]
        for (name, shape), tensor in zip(self.shapes.items(), split, strict=True):
            yield name, tensor if shape.numel() else tensor.view(shape.shape)  # it makes all that is empty (0,)


@dataclass(frozen=True)
class _Layout:
    """What a header says: the payload's numbers as it writes them, not checked, and where its tensors lie."""

    numbers: object
    runs: tuple[_Run, ...]


def _check_size(blob: bytes, like: Mapping[str, Tensor]) -> int:
    """Return where the data starts; nothing is read before the sizes fit what is expected."""
    size = sum(tensor.numel() * tensor.element_size() for tensor in like.values())
    length = int.from_bytes(blob[:8], "little")
    limit = 1_000 + sum(200 + 12 * (len(name) + tensor.ndim * 2) for name, tensor in like.items()) + MAX_NUMBERS * 700
    if length > limit or len(blob) != 8 + length + size:
        raise PayloadError(
            f"the payload has {len(blob):,} bytes with a header of {length:,}, where {size:,} bytes of tensors "
            "and a small header were expected"
        )
    return 8 + length


# All neighbours of a run write the same header, message for message, unless there are numbers in it.
@lru_cache(maxsize=16)
def _read_layout(text: bytes, wanted: tuple[tuple[str, torch.dtype, torch.Size], ...]) -> _Layout:
    """Read a header, trusting nothing about it.

    Args:
        text: the header.
        wanted: (name, type, shape) of the tensors that it must describe.

    Raises:
        PayloadError: it is no header, or describes anything else.
    """
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_object)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"the payload's header is not readable: {error}") from None
    if not isinstance(header, dict):
        raise PayloadError("the payload's header is not readable: no JSON object")
    numbers = header.pop(_METADATA, {})
    like = {name: _shaped(dtype, shape) for name, dtype, shape in wanted}
    _check_names("tensor", header.keys(), like.keys())
    return _Layout(
        numbers, _runs({name: _check_entry(name, header[name], shape) for name, shape in like.items()}, like)
    )


@lru_cache(maxsize=16)
def _read_own_layout(text: bytes) -> tuple[_Run, ...]:
    header = json.loads(text)
    header.pop(_METADATA, None)
    like = {name: _shaped(_DTYPES[entry["dtype"]], entry["shape"]) for name, entry in header.items()}
    return _runs({name: entry["data_offsets"][0] for name, entry in header.items()}, like)


def _shaped(dtype: torch.dtype, shape: Sequence[int]) -> Tensor:
    """Return a tensor of this type and shape that takes no room: one element, repeated."""
    return torch.empty((), dtype=dtype).expand(shape)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name stands there twice")
    return found


def _read_numbers(texts: object, bounds: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    if not isinstance(texts, dict) or len(texts) > MAX_NUMBERS:
        raise PayloadError(f"the payload's numbers are not at most {MAX_NUMBERS} named numbers")
    _check_names("number", texts.keys(), bounds.keys())
    found: dict[str, float] = {}
    for name, text in texts.items():
        try:
            value = float.fromhex(text) if isinstance(text, str) and _NUMBER.fullmatch(text) else math.nan
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            raise PayloadError(f"number '{name[:100]}' is not a finite number")
        low, high = bounds[name]
        if not low <= value <= high:
            raise PayloadError(f"number '{name[:100]}' is {value:.6g}, outside of {low:.6g} to {high:.6g}")
        found[name] = value
    return found


def _check_names(what: str, found: Collection[str], expected: Collection[str]) -> None:
    if len(found) == len(expected) and all(name in found for name in expected):
        return
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    raise PayloadError(
        ", ".join(_listed(kind, what, names) for kind, names in (("missing", missing), ("unexpected", extra)) if names)
    )


def _listed(kind: str, what: str, names: list[str]) -> str:
    shown = ", ".join(f"'{name[:100]}'" for name in names[:2])
    return f"{kind} {what}{'s' if len(names) > 1 else ''} {shown}{' ...' if len(names) > 2 else ''}"


def _check_entry(name: str, entry: object, expected: Tensor) -> int:
    """Return where a tensor's bytes start within the data, if its entry is what was expected."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise PayloadError(f"tensor '{name}' is not described as safetensors does")
    wanted = _TYPES.get(expected.dtype)
    if wanted is None or entry["dtype"] != wanted:
        raise PayloadError(f"tensor '{name}' has type {_brief(entry['dtype'])} instead of {wanted or expected.dtype}")
    if entry["shape"] != list(expected.shape):
        raise PayloadError(f"tensor '{name}' has shape {_brief(entry['shape'])} instead of {list(expected.shape)}")
    size = expected.numel() * expected.element_size()
    match entry["data_offsets"]:
        case [int(start), int(end)] if end - start == size and start % expected.element_size() == 0:
            return int(start)  # JSON's false is a 0 to Python, and not to torch
    raise PayloadError(
        f"tensor '{name}' lies at {_brief(entry['data_offsets'])}, which does not fit its {size:,} bytes"
    )


def _brief(value: object) -> str:
    return json.dumps(value)[:100]


def _runs(starts: Mapping[str, int], like: Mapping[str, Tensor]) -> tuple[_Run, ...]:
    """Return neighbouring tensors of one type together; refuse tensors that overlap or leave gaps."""
    runs: list[_Run] = []
    end = 0
    for name, start in sorted(starts.items(), key=lambda item: (item[1], like[item[0]].numel())):
        shape = like[name]
        if start != end:
            raise PayloadError("the payload's tensors overlap or leave gaps")
        end += shape.numel() * shape.element_size()
        if not runs or runs[-1].dtype != shape.dtype:
            runs.append(_Run(shape.dtype, start))
        runs[-1].shapes[name] = shape
    return tuple(runs)


def _is_sound(elements: Tensor) -> bool:
    """Whether elements of one type are finite, or truth values."""
    if not elements.numel():
        return True
    if elements.dtype == torch.bool:
        return int(elements.view(torch.uint8).max()) <= 1
    if not elements.dtype.is_floating_point:
        return True
    # NaN and infinity show in the sum, which is read in one pass; a sum that overflows is looked at more closely.
    return math.isfinite(elements.sum().item()) or bool(elements.isfinite().all())
