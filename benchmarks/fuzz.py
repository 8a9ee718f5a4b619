"""Mutate blobs, instructions and reports at random and read them: nothing but rejections or sound values may come out.

python benchmarks/fuzz.py 1000000 [SEED]
"""

import json
import math
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord

from dimat_flwr.events import Aligned, Evaluation, Final, Merge, Note, Rejected, Stamped, Training
from dimat_flwr.records.summary import encode_summary, summarize
from dimat_flwr.records.totals import Totals
from dimat_flwr.topology.row import Row
from dimat_flwr.wire.instruction import Instruction, InstructionError, Next, read_instruction
from dimat_flwr.wire.payload import Expected, Payload, PayloadError, from_record, pack, to_record, unpack
from dimat_flwr.wire.report import Report, ReportError, read_report

LIKE = {
    "conv.weight": torch.linspace(-1, 1, 24).view(2, 3, 4),
    "bn.num_batches_tracked": torch.tensor(7),
    "half": torch.ones(3, dtype=torch.float16),
    "brain": torch.ones(2, dtype=torch.bfloat16),
    "mask": torch.tensor([True, False, True]),
    "empty": torch.zeros(0, 4),
}
WIDE = {"w": (-math.inf, math.inf), "count": (-math.inf, math.inf)}
BOUNDS = {"w": (0.0, 1.0), "count": (1.0, 5.0)}
INSTRUCTION = Instruction(
    peer=2, peers=5, run="2026-01-01_000000-run", simulation=True, round=3, rounds=10, exchange="merge",
    row=Row(1 / 3, {1: 1 / 3, 3: 1 / 3}), absent={4: "late"},
    next=Next(round=4, exchange="merge", handler="algorithm", readers=[1, 3]),
)  # fmt: skip
REPORT = Report(
    place=2,
    error="RuntimeError: no",
    events=[
        Evaluation("after_merge", 97.5, 96.0, 0.1),
        Training(0.05, 300, 10, 1.25),
        Merge([1, 3], [0.4, 0.3, 0.3], 0.2),
        Aligned(1, 0.9),
        Rejected(3, "tensor 'bias' holds NaN\nor worse"),
        Final(97.5, 96.0, 0.1, "models/peer-2.safetensors", "0f" * 32, 1234),
        Note("consensus", {"distance": 0.5, "tag": "ä", "rounds": 3, "curve": [1.0, 2.0], "nothing": None}),
    ],
)
# Values of every kind that JSON or Python has, among them those that broke something once.
HOSTILE: list[Any] = [
    None, True, False, 0, -1, 1, 2**53, 2**53 + 1, -(2**63), 2**64, 10**400,
    0.5, -0.0, 1e308, 1e-320, math.nan, math.inf,
    "", "a", "after_merge", "rows", "\ud800", "\x00", "\x1b[2J", "\u2028", "../../x", "/etc/passwd", "é" * 300,
    "x" * 25_000, [], [[]], {}, [1, 2], [0.5] * 300, {"a": 1}, {"event": "failure"}, "NaN", "0x1p+0", "inf",
]  # fmt: skip


@dataclass
class Outcome:
    """How many inputs of each kind were refused and taken, and which took longest (seconds)."""

    counts: Counter[str] = field(default_factory=Counter)
    slowest: dict[str, float] = field(default_factory=dict)

    def note(self, kind: str, taken: bool, seconds: float) -> None:
        """Count one input."""
        self.counts[f"{kind} {'taken' if taken else 'refused'}"] += 1
        self.slowest[kind] = max(self.slowest.get(kind, 0.0), seconds)


def fuzz(count: int, seed: int = 0) -> Outcome:
    """Read ``count`` mutated inputs, a third of each kind; raises what a reader raised besides its own error."""
    rng, outcome = random.Random(seed), Outcome()
    kinds: list[tuple[str, Callable[[random.Random], object], Callable[[Any], None], type[Exception]]] = [
        ("blob", _blob, _check_payload, PayloadError),
        ("instruction", _instruction, _check_instruction, InstructionError),
        ("report", _report, _check_report, ReportError),
    ]
    for number in range(count):
        kind, make, read, refusal = kinds[number % 3]
        made = make(rng)
        began, taken = time.perf_counter(), True
        try:
            read(made)
        except refusal as error:
            taken = False
            text = str(error)
            assert text
            assert len(text) < 1000, f"a {kind} is refused in {len(text)} characters"
            text.encode()
        except Exception as error:
            raise AssertionError(f"a {kind} broke its reader: {made!r}"[:2000]) from error
        outcome.note(kind, taken, time.perf_counter() - began)
    return outcome


def _check_payload(made: tuple[object, bool]) -> None:
    record, bounded = made
    payload = unpack(from_record(record), Expected(LIKE, BOUNDS if bounded else WIDE))
    assert list(payload.tensors) == list(LIKE)
    for name, tensor in payload.tensors.items():
        assert tensor.shape == LIKE[name].shape
        assert tensor.dtype == LIKE[name].dtype
        assert bool(tensor.double().isfinite().all())
        tensor.zero_()  # writable, and nobody else's
    for name, value in payload.numbers.items():
        assert math.isfinite(value)
        assert not bounded or BOUNDS[name][0] <= value <= BOUNDS[name][1]


def _check_instruction(record: object) -> None:
    read = read_instruction(record)
    assert read_instruction(read.to_record()) == read
    assert "/" not in read.run
    assert all(0 <= peer < read.peers for peer in read.row.sources)
    assert all(map(math.isfinite, (read.row.own, *read.row.sources.values())))


def _check_report(record: object) -> None:
    report = read_report(record)
    assert read_report(report.to_record()) == report
    totals = Totals()
    for event in report.events:
        stamped = Stamped(event, 1, 2, "merge")
        line = json.dumps(stamped.to_line(), ensure_ascii=False, allow_nan=False).encode()
        assert len(line) < 200_000
        assert Stamped.from_line(line + b"\n") == stamped
        totals.add(stamped)
        totals.add(Stamped(event, 1, 3, "merge"))
    json.loads(encode_summary(summarize({"peers": 5}, totals, {})))


def _blob(rng: random.Random) -> tuple[object, bool]:
    blob = pack(Payload(LIKE, {"w": 0.1, "count": 3.0}))
    bounded = rng.random() < 0.5
    length = int.from_bytes(blob[:8], "little")
    choice = rng.random()
    if choice < 0.35:  # within the header, where everything is decided
        blob = blob[:8] + _mutate_bytes(blob[8 : 8 + length], rng) + blob[8 + length :]
        if rng.random() < 0.7:
            grown = len(blob) - len(pack(Payload(LIKE, {"w": 0.1, "count": 3.0})))
            blob = (length + grown).to_bytes(8, "little") + blob[8:]
    elif choice < 0.7:
        text = _mutate_json(json.loads(blob[8 : 8 + length]), rng)
        blob = len(text).to_bytes(8, "little") + text + blob[8 + length :]
    elif choice < 0.95:
        blob = _mutate_bytes(blob, rng)
    record: object = to_record(blob)
    if choice >= 0.95:
        record = rng.choice(
            [
                None, 3, b"", {}, ArrayRecord(), MetricRecord({}), ConfigRecord({}),
                ArrayRecord({"blob": Array("float32", (len(blob),), "dimat.payload", blob)}),
                ArrayRecord({"blob": Array("uint8", (rng.choice([0, 2**62, -1]),), "dimat.payload", blob)}),
                ArrayRecord({"blob": Array("uint8", (), "dimat.payload", blob)}),
                ArrayRecord({"blob": Array("uint8", (len(blob),), "numpy.ndarray", blob)}),
                ArrayRecord({"other": Array("uint8", (len(blob),), "dimat.payload", blob)}),
                ArrayRecord([torch.zeros(3).numpy()]),
            ]
        )  # fmt: skip
    return record, bounded


def _instruction(rng: random.Random) -> object:
    text = str(INSTRUCTION.to_record()["json"])
    choice = rng.random()
    if choice < 0.5:
        text = _mutate_json(json.loads(text), rng).decode("utf-8", "surrogatepass")
    elif choice < 0.95:
        text = _mutate_bytes(text.encode(), rng).decode("utf-8", rng.choice(["replace", "surrogateescape"]))
    else:
        return rng.choice(
            [None, 3, {}, {"json": text}, ConfigRecord({}), ConfigRecord({"json": 3}), ConfigRecord({"json": [text]}),
             ConfigRecord({"json": text.encode()}), ConfigRecord({"json": text, "more": 1}), MetricRecord({"json": 1})]
        )  # fmt: skip
    return ConfigRecord({"json": text})


def _report(rng: random.Random) -> object:
    fields: dict[str, Any] = dict(REPORT.to_record())
    choice = rng.random()
    if choice < 0.45:
        fields["events"] = _mutate_json(json.loads(fields["events"]), rng)
    elif choice < 0.85:
        fields["events"] = _mutate_bytes(fields["events"], rng)
    else:
        value = rng.choice([*HOSTILE, b"", b"[]", [b"[]"], "x" * 1_000_000, b"[" * 30_000, 2**70])
        fields[rng.choice([*fields, "more"])] = value
        if rng.random() < 0.1:
            fields.pop(rng.choice(list(fields)))
    try:
        return ConfigRecord(fields)
    except TypeError:  # Flower itself takes no such value
        return fields


def _mutate_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change one byte, or drop, double, move or cut some."""
    changed = bytearray(data)
    at, size = rng.randrange(len(data)), rng.choice([1, 1, 2, 8, 64])
    match rng.randrange(7):
        case 0 | 1:
            changed[at] = rng.randrange(256)
        case 2:
            changed[at] ^= 1 << rng.randrange(8)
        case 3:
            del changed[at : at + size]
        case 4:
            changed[at:at] = rng.choice(
                [bytes(size), rng.randbytes(size), data[at : at + size], b"9" * size, b"[" * size]
            )
        case 5:
            changed = changed[:at]
        case 6:
            other = rng.randrange(len(data))
            changed[at : at + size], changed[other : other + size] = data[other : other + size], data[at : at + size]
    return bytes(changed)


def _mutate_json(value: Any, rng: random.Random) -> bytes:
    """Change one node of a JSON value: its value, type, key or presence."""
    holders: list[Any] = []
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict | list) and node:
            holders.append(node)
            stack.extend(node.values() if isinstance(node, dict) else node)
    holder = rng.choice(holders)
    key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
    twice = False
    match rng.randrange(6):
        case 0 | 1 | 2:
            holder[key] = rng.choice(HOSTILE)
        case 3:
            del holder[key]
        case 4 if isinstance(holder, dict):
            holder[str(rng.choice(HOSTILE))[:300]] = holder.pop(key)
        case 5 if isinstance(holder, dict):
            twice = True
        case _:
            holder.extend([holder[key]] * rng.choice([1, 300])) if isinstance(holder, list) else None
    text = json.dumps(value, ensure_ascii=rng.random() < 0.5)
    if twice:
        text = text.replace(f"{json.dumps(key)}:", f"{json.dumps(key)}: 0, {json.dumps(key)}:", 1)
    return text.encode("utf-8", "surrogatepass")


def main() -> None:
    """Read the command line."""
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    torch.set_num_threads(1)
    began = time.perf_counter()
    outcome = fuzz(count, seed)
    for name, number in sorted(outcome.counts.items()):
        print(f"{name:<22} {number:>10,}")
    for kind, seconds in outcome.slowest.items():
        print(f"slowest {kind:<14} {seconds * 1000:>8.2f} ms")
    print(f"{count:,} inputs in {time.perf_counter() - began:.0f} s; nothing else was raised")


if __name__ == "__main__":
    main()
