"""What a reply may be made of: numbers beside tensors, records of other kinds, replies of others and none."""

import math
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from dimat_flwr.wire import names
from dimat_flwr.wire.payload import to_record
from tests.hostile.attacks.base import ESCAPES, EVERY, OUT, Turn, exchange

# ---- numbers beside the tensors ------------------------------------------------------------------------------------


@exchange(fast=False)
def numbers_that_nobody_asked_for(turn: Turn) -> RecordDict:
    return turn.numbers({f"n{k}": "0x1.0p+0" for k in range(200)})


@exchange(algorithms=("sgp",), fast=False)
def numbers_missing(turn: Turn) -> RecordDict:
    return turn.numbers({})


@exchange(algorithms=("sgp",))
def numbers_that_are_no_numbers(turn: Turn) -> RecordDict:
    kinds = ["nan", "inf", "0x1.0p+9999", "", ESCAPES, 1.0, None, [], {"w": 1}, "0x1." + "0" * 5000 + "p+0"]
    return turn.numbers({"w": kinds[turn.number % len(kinds)]})


@exchange(algorithms=("sgp",), fast=False)
def no_mass_at_all(turn: Turn) -> RecordDict:
    return turn.numbers({"w": [(0.0).hex(), (-1.0).hex(), (1e308).hex()][turn.number % 3]})


@exchange(algorithms=("sgp",), fast=False)
def the_mass_of_all(turn: Turn) -> RecordDict:
    return turn.numbers({"w": (5.0).hex()})


@exchange(algorithms=("sgp",), fast=False)
def hardly_any_mass(turn: Turn) -> RecordDict:
    return turn.numbers({"w": (2 * sys.float_info.min).hex()})


# ---- records -------------------------------------------------------------------------------------------------------


@exchange(fast=False)
def no_payload(turn: Turn) -> RecordDict:
    return RecordDict({names.REPORT: turn.reply[names.REPORT]})


@exchange(fast=False)
def settings_in_the_place_of_a_payload(turn: Turn) -> RecordDict:
    turn.reply[OUT] = ConfigRecord({"blob": b"x" * 1000})
    return turn.reply


@exchange(fast=False)
def metrics_in_the_place_of_a_payload(turn: Turn) -> RecordDict:
    turn.reply[OUT] = MetricRecord({"blob": [math.nan] * 1000})
    return turn.reply


@exchange(fast=False)
def many_arrays_in_the_place_of_one(turn: Turn) -> RecordDict:
    array = Array("uint8", (1,), "dimat.payload", b"x")
    turn.reply[OUT] = ArrayRecord({"blob": array, **{f"{k}": array for k in range(3000)}})
    return turn.reply


@exchange(fast=False)
def an_array_that_lies_about_itself(turn: Turn) -> RecordDict:
    lies: list[tuple[str, tuple[int, ...], str]] = [
        ("uint8", (2**62,), "dimat.payload"), ("uint8", (-1,), "dimat.payload"), ("uint8", (), "dimat.payload"),
        ("float32", (8,), "dimat.payload"), ("uint8", (8,), "numpy.ndarray"), (ESCAPES, (8,), "dimat.payload"),
    ]  # fmt: skip
    turn.reply[OUT] = ArrayRecord({"blob": Array(*lies[turn.number % len(lies)], b"x" * 8)})
    return turn.reply


class _Canary:
    """Unpickled, it would leave a file."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("unpickled"),)


@exchange()
def a_pickle(turn: Turn) -> RecordDict:
    turn.reply[OUT] = ArrayRecord([np.zeros(3)])
    array = next(iter(turn.reply[OUT].values()))
    import io

    file = io.BytesIO()
    np.save(file, np.array([_Canary()], dtype=object), allow_pickle=True)
    turn.reply[OUT] = ArrayRecord({"blob": Array("object", (1,), array.stype, file.getvalue())})
    return turn.reply


@exchange()
def thousands_of_records(turn: Turn) -> RecordDict:
    for k in range(3000):
        turn.reply[f"extra.{k}"] = ConfigRecord({"x": "y" * 100})
    return turn.reply


@exchange(fast=False)
def records_with_the_names_of_orders(turn: Turn) -> RecordDict:
    turn.reply[names.INSTRUCTION] = ConfigRecord({"json": '{"peer": 0, "run": "../../x"}'})
    for k in range(6):
        turn.reply[names.inbox(k)] = to_record(b"x")
    return turn.reply


@exchange()
def payloads_for_readers_that_do_not_exist(turn: Turn) -> RecordDict:
    for reader in (-1, 5, 99, 10**30, turn.peer):
        turn.reply[names.outbox(reader)] = to_record(b"x" * 100)
    turn.reply["out."] = turn.reply["out.None"] = turn.reply["out.../../x"] = to_record(b"x" * 100)
    return turn.reply


@exchange()
def nothing_for_one_of_its_readers(turn: Turn) -> RecordDict:
    if turn.publishes:
        turn.reply[names.outbox((turn.peer + 1) % 5)] = turn.reply[OUT]
        del turn.reply[OUT]
    return turn.reply


@exchange(fast=False)
def something_else_for_each_reader(turn: Turn) -> RecordDict:
    if turn.publishes:
        turn.reply[names.outbox((turn.peer + 1) % 5)] = to_record(b"")
    return turn.reply


@exchange(lost=None)
def the_reply_of_another_peer(turn: Turn) -> RecordDict:
    return turn.others.get((turn.peer + 1) % 5, turn.reply)


@exchange(lost=None, algorithms=EVERY, fast=False)
def its_first_reply_again_and_again(turn: Turn) -> RecordDict:
    return turn.past[0] if turn.past else turn.reply


@exchange(lost=True)
def an_empty_reply(turn: Turn) -> RecordDict:
    return RecordDict()
