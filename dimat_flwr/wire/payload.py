"""A payload (what a peer publishes in a phase) to and from Flower records, checked before anything uses it."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from tokenize import TokenError

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, MetricRecord
from torch import Tensor

# An .npy header is padded to 64 bytes and for any sane shape stays far below this.
_MAX_NPY_HEADER = 4096
# What numpy's header parser lets through on hostile bytes.
_HOSTILE_NPY = (ValueError, TypeError, SyntaxError, TokenError, KeyError, EOFError, OverflowError, MemoryError)


class PayloadError(ValueError):
    """A payload that must not be used; the text says which tensor or number is wrong and how."""


@dataclass(frozen=True)
class Payload:
    """What one peer publishes in one phase.

    Attributes:
        tensors: name -> CPU tensor of any shape, for instance a state dict.
        numbers: name -> number that travels beside the tensors: a push-sum weight, a count in a relay sum, the round of
            origin.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, float] = field(default_factory=dict)


def encode(payload: Payload) -> tuple[ArrayRecord, MetricRecord]:
    """Return the records of a payload, its tensors as .npy bytes, its numbers as floats.

    Raises:
        PayloadError: a tensor is of a type that numpy lacks (bfloat16).
    """
    arrays = ArrayRecord()
    for name, tensor in payload.tensors.items():
        try:
            arrays[name] = Array(tensor.detach().cpu().numpy())
        except TypeError as error:
            raise PayloadError(
                f"tensor '{name}' of type {tensor.dtype} cannot be sent: keep the model's weights in float32 or "
                "float16 (training may still run in bfloat16 autocast)"
            ) from error
    return arrays, MetricRecord({name: float(value) for name, value in payload.numbers.items()})


def decode(arrays: object, numbers: object, like: Mapping[str, Tensor]) -> Payload:
    """Read a neighbour's payload, trusting nothing about it.

    Args:
        arrays: the ``ArrayRecord`` that arrived (or whatever else did).
        numbers: the ``MetricRecord`` that arrived, or None when there was none.
        like: name -> tensor; the payload must have exactly these names, shapes and types.

    Returns:
        The payload, with tensors in the order of ``like``.

    Raises:
        PayloadError: a tensor is missing, unexpected, of the wrong shape or type, not finite, or not readable.
    """
    if not isinstance(arrays, ArrayRecord):
        raise PayloadError("no tensors arrived")
    missing = [name for name in like if name not in arrays]
    extra = [name for name in arrays if name not in like]
    if missing or extra:
        raise PayloadError(_names("missing", missing) + _names("unexpected", extra))
    tensors = {name: _decode_tensor(name, arrays[name], expected) for name, expected in like.items()}
    return Payload(tensors, _decode_numbers(numbers))


def _decode_tensor(name: str, array: Array, expected: Tensor) -> Tensor:
    shape, dtype = tuple(expected.shape), str(expected.dtype).removeprefix("torch.")
    # Everything a header can claim is checked before bytes are read, so that a lie costs no memory.
    if tuple(array.shape) != shape:
        raise PayloadError(f"tensor '{name}' has shape {tuple(array.shape)} instead of {shape}")
    if array.dtype != dtype:
        raise PayloadError(f"tensor '{name}' has type {array.dtype} instead of {dtype}")
    if array.stype != "numpy.ndarray":
        raise PayloadError(f"tensor '{name}' is encoded as '{array.stype}' instead of 'numpy.ndarray'")
    size = expected.numel() * expected.element_size()
    if not size <= len(array.data) <= size + _MAX_NPY_HEADER:
        raise PayloadError(f"tensor '{name}' has {len(array.data)} bytes where about {size} were expected")
    values = _read_npy(name, array.data)
    if values.shape != shape or str(values.dtype) != dtype:
        raise PayloadError(f"tensor '{name}' holds {values.dtype}{list(values.shape)}, which is not what it claimed")
    if np.issubdtype(values.dtype, np.inexact) and not np.isfinite(values).all():
        raise PayloadError(f"tensor '{name}' holds NaN or infinite values")
    return torch.from_numpy(values)


def _read_npy(name: str, data: bytes) -> np.ndarray[tuple[int, ...], np.dtype[np.generic]]:
    stream = io.BytesIO(data)
    try:
        values = np.lib.format.read_array(stream, allow_pickle=False)
    # numpy's header parser lets several kinds of error through on hostile bytes.
    except (
        ValueError,
        TypeError,
        SyntaxError,
        KeyError,
        EOFError,
        OverflowError,
        MemoryError,
        RecursionError,
    ) as error:
        raise PayloadError(f"tensor '{name}' is not a readable array: {error}") from error
    if stream.read(1):
        raise PayloadError(f"tensor '{name}' is followed by bytes that do not belong to it")
    return np.ascontiguousarray(values).reshape(values.shape)


def _decode_numbers(numbers: object) -> dict[str, float]:
    if numbers is None:
        return {}
    if not isinstance(numbers, MetricRecord):
        raise PayloadError("the numbers that arrived are not a MetricRecord")
    decoded: dict[str, float] = {}
    for name, value in numbers.items():
        if isinstance(value, list) or not np.isfinite(value):
            raise PayloadError(f"number '{name}' is {value}, not one finite number")
        decoded[name] = float(value)
    return decoded


def _names(what: str, names: list[str]) -> str:
    if not names:
        return ""
    shown = ", ".join(f"'{name[:100]}'" for name in names[:3])
    return f"{what} tensor{'s' if len(names) > 1 else ''} {shown}{' ...' if len(names) > 3 else ''}. "
