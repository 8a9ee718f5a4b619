"""What a payload may hold: bytes that are no payload, and numbers that ruin a model."""

import json
import math
from typing import Any

import torch
from flwr.app import RecordDict
from torch import Tensor

from tests.hostile.attacks.base import (
    ESCAPES,
    EVERY,
    NESTED,
    SCRIPT,
    Turn,
    exchange,
)

# ---- payloads that are no payloads ---------------------------------------------------------------------------------


@exchange(algorithms=EVERY)
def empty_blob(turn: Turn) -> RecordDict:
    return turn.blob(lambda _: b"")


@exchange()
def truncated_blob(turn: Turn) -> RecordDict:
    return turn.blob(lambda blob: blob[: turn.rng.randrange(len(blob))])


@exchange(fast=False)
def blob_with_a_tail(turn: Turn) -> RecordDict:
    return turn.blob(lambda blob: blob + b"\0")


@exchange(fast=False)
def random_bytes(turn: Turn) -> RecordDict:
    return turn.blob(lambda blob: turn.rng.randbytes(len(blob)))


@exchange(algorithms=EVERY, lost=None, fast=False)
def flipped_bits(turn: Turn) -> RecordDict:
    def flip(blob: bytes) -> bytes:
        changed = bytearray(blob)
        for _ in range(20):
            changed[turn.rng.randrange(len(changed))] ^= 1 << turn.rng.randrange(8)
        return bytes(changed)

    return turn.blob(flip)


@exchange(fast=False)
def huge_blob(turn: Turn) -> RecordDict:
    return turn.blob(lambda blob: blob + bytes(20_000_000))


@exchange(fast=False)
def a_header_without_end(turn: Turn) -> RecordDict:
    return turn.blob(lambda blob: b"\xff" * 8 + blob[8:])


@exchange()
def a_header_of_nested_lists(turn: Turn) -> RecordDict:
    return turn.header(lambda _: NESTED.encode())


@exchange(fast=False)
def a_header_of_binary(turn: Turn) -> RecordDict:
    return turn.header(lambda _: b"\xff\xfe{}\x00")


@exchange(fast=False)
def a_header_that_is_a_number(turn: Turn) -> RecordDict:
    return turn.header(lambda _: b"9" * 5000)


@exchange(fast=False)
def a_header_that_names_a_tensor_twice(turn: Turn) -> RecordDict:
    return turn.header(
        lambda header: (b"{" + json.dumps(header).encode()[1:-1] + b",") * 1 + json.dumps(header).encode()[1:]
    )


@exchange()
def names_of_control_characters(turn: Turn) -> RecordDict:
    def rename(header: dict[str, Any]) -> None:
        header[ESCAPES + SCRIPT + "\ud800"] = header.pop(next(iter(header)))

    return turn.header(rename)


@exchange(fast=False)
def offsets_that_overlap(turn: Turn) -> RecordDict:
    def shift(header: dict[str, Any]) -> None:
        for entry in header.values():
            if "data_offsets" in entry:
                size = entry["data_offsets"][1] - entry["data_offsets"][0]
                entry["data_offsets"] = [0, size]

    return turn.header(shift)


@exchange(fast=False)
def offsets_of_the_wrong_kind(turn: Turn) -> RecordDict:
    kinds = [[False, 4], [-4, 0], [0.0, 4.0], ["0", "4"], [10**400, 10**400], [math.nan, math.inf], None, {}, [0]]

    def break_one(header: dict[str, Any]) -> None:
        entry = header[turn.rng.choice([name for name in header if name != "__metadata__"])]
        entry["data_offsets"] = kinds[turn.number % len(kinds)]

    return turn.header(break_one)


@exchange(fast=False)
def one_tensor_less(turn: Turn) -> RecordDict:
    return turn.header(lambda header: header.pop(next(iter(header))) and None)


@exchange(fast=False)
def one_tensor_more(turn: Turn) -> RecordDict:
    empty = {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}
    return turn.header(lambda header: header.__setitem__("é" * 400, empty))


@exchange(fast=False)
def another_shape(turn: Turn) -> RecordDict:
    return turn.tensors(lambda _, tensor: tensor.reshape(-1, 1))


@exchange(fast=False)
def another_type(turn: Turn) -> RecordDict:
    return turn.tensors(lambda _, tensor: tensor.view(torch.int32) if tensor.dtype == torch.float32 else tensor)


# ---- payloads of ruinous numbers -----------------------------------------------------------------------------------


@exchange(algorithms=EVERY)
def not_a_number(turn: Turn) -> RecordDict:
    return turn.floats(lambda tensor: torch.full_like(tensor, torch.nan))


@exchange(fast=False)
def infinite_values(turn: Turn) -> RecordDict:
    return turn.floats(lambda tensor: torch.full_like(tensor, -torch.inf))


@exchange(algorithms=EVERY)
def values_of_1e38(turn: Turn) -> RecordDict:
    return turn.floats(lambda tensor: torch.full_like(tensor, 1e38))


@exchange(algorithms=EVERY, fast=False)
def the_largest_values_of_both_signs(turn: Turn) -> RecordDict:
    largest = torch.finfo(torch.float32).max
    return turn.floats(lambda tensor: torch.where(tensor > 0, largest, -largest))


@exchange(algorithms=EVERY, fast=False)
def values_whose_squares_overflow(turn: Turn) -> RecordDict:
    return turn.floats(lambda tensor: tensor * 1e20)


@exchange(algorithms=EVERY, fast=False)
def values_that_grow_from_round_to_round(turn: Turn) -> RecordDict:
    return turn.floats(lambda tensor: tensor.clamp(-100, 100) * 10.0 ** (6 * turn.number + 3))


@exchange(algorithms=EVERY, fast=False)
def one_large_value(turn: Turn) -> RecordDict:
    def spoil(tensor: Tensor) -> Tensor:
        changed = tensor.clone()
        changed.view(-1)[0] = 3e38
        return changed

    return turn.floats(spoil)


@exchange(algorithms=EVERY, fast=False)
def denormal_values(turn: Turn) -> RecordDict:
    return turn.floats(lambda tensor: torch.full_like(tensor, 1e-44))


@exchange(algorithms=EVERY, fast=False)
def nothing_but_zeros(turn: Turn) -> RecordDict:
    return turn.floats(torch.zeros_like)


@exchange(algorithms=EVERY)
def negative_variances(turn: Turn) -> RecordDict:
    return turn.tensors(lambda name, tensor: tensor - tensor - 0.01 if name.endswith("running_var") else tensor)


@exchange(algorithms=EVERY, fast=False)
def enormous_variances(turn: Turn) -> RecordDict:
    return turn.tensors(lambda name, tensor: tensor * 0 + 3e38 if "running_" in name else tensor)


@exchange(algorithms=EVERY, fast=False)
def counters_at_their_limits(turn: Turn) -> RecordDict:
    return turn.tensors(lambda _, tensor: tensor if tensor.is_floating_point() else torch.full_like(tensor, -(2**63)))


@exchange(algorithms=EVERY, fast=False)
def ruin_for_the_last_merge(turn: Turn) -> RecordDict:
    return values_of_1e38(turn) if turn.number == 1 else turn.reply
