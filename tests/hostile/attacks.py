"""A catalogue of attacks: what one hostile peer may answer in the place of its honest reply.

Each attack is a function of a ``Turn`` that returns the reply to send. Those in ``EXCHANGE`` lie while the run goes on,
those in ``HANDSHAKE`` before it begins.
"""

import json
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from torch import Tensor

from dimat_flwr.events import Failure, to_json
from dimat_flwr.wire import names
from dimat_flwr.wire.payload import Payload, from_record, pack, to_record

OUT = names.outbox(None)
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;]]>--><!--"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\x9b31m\u202egnp.exe\u2028next\x00"
NESTED = "[" * 600 + "]" * 600


@dataclass
class Turn:
    """One message that the hostile peer answers.

    Attributes:
        kind: of the message.
        number: how many exchanges it answered before this one.
        reply: what an honest peer would answer; may be changed.
        peer: its place.
        others: each other peer's latest reply, as far as it has answered.
        past: its own honest replies before this one.
        rng: the attack's dice.
    """

    kind: str
    number: int
    reply: RecordDict
    peer: int
    others: Mapping[int, RecordDict]
    past: Sequence[RecordDict]
    rng: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def publishes(self) -> bool:
        """Whether somebody will read a payload of this reply."""
        return OUT in self.reply

    def honest(self) -> Payload:
        """Return the honest payload."""
        blob = from_record(self.reply[OUT])
        length = int.from_bytes(blob[:8], "little")
        header = json.loads(blob[8 : 8 + length])
        numbers = {name: float.fromhex(text) for name, text in header.pop("__metadata__", {}).items()}
        from safetensors.torch import load

        return Payload(load(blob), numbers)

    def blob(self, change: Callable[[bytes], bytes]) -> RecordDict:
        """Return the reply with its blob changed."""
        if self.publishes:
            self.reply[OUT] = to_record(change(from_record(self.reply[OUT])))
        return self.reply

    def header(self, change: Callable[[dict[str, Any]], object]) -> RecordDict:
        """Return the reply with the header of its blob changed: in place, or to a text that is returned."""

        def changed(blob: bytes) -> bytes:
            length = int.from_bytes(blob[:8], "little")
            header = json.loads(blob[8 : 8 + length])
            found = change(header)
            text = found if isinstance(found, bytes) else json.dumps(header).encode()
            return len(text).to_bytes(8, "little") + text + blob[8 + length :]

        return self.blob(changed)

    def tensors(self, change: Callable[[str, Tensor], Tensor]) -> RecordDict:
        """Return the reply with every tensor of its payload changed."""
        if self.publishes:
            honest = self.honest()
            changed = {name: change(name, tensor) for name, tensor in honest.tensors.items()}
            self.reply[OUT] = to_record(pack(Payload(changed, honest.numbers)))
        return self.reply

    def floats(self, change: Callable[[Tensor], Tensor]) -> RecordDict:
        """Return the reply with every floating-point tensor of its payload changed."""
        return self.tensors(lambda _, tensor: change(tensor) if tensor.is_floating_point() else tensor)

    def numbers(self, texts: Mapping[str, object]) -> RecordDict:
        """Return the reply with other numbers in its payload, written as they are."""
        return self.header(lambda header: header.__setitem__("__metadata__", dict(texts)))

    def report(self, **fields: Any) -> RecordDict:
        """Return the reply with fields of its report changed."""
        self.reply[names.REPORT] = ConfigRecord({**self.reply[names.REPORT], **fields})
        return self.reply

    def events(self, *more: object) -> RecordDict:
        """Return the reply with events added to its report: JSON values, or texts that stand for themselves."""
        told = [json.dumps(event) for event in json.loads(self.reply[names.REPORT]["events"])]
        told += [event if isinstance(event, str) else json.dumps(event) for event in more]
        return self.report(events=f"[{','.join(told)}]".encode("utf-8", "surrogatepass"))


Act = Callable[[Turn], RecordDict]


@dataclass(frozen=True)
class Attack:
    """One class of attack.

    Attributes:
        act: answers in the honest peer's stead.
        lost: whether the run has to go on without the hostile peer; None: it may.
        algorithms: those that it is about.
        fast: whether it belongs to the tests that are run every time.
    """

    act: Act
    lost: bool | None = False
    algorithms: tuple[str, ...] = ("weight_averaging",)
    fast: bool = True

    @property
    def name(self) -> str:
        """The attack's name."""
        return self.act.__name__


EXCHANGE: dict[str, Attack] = {}
HANDSHAKE: dict[str, Act] = {}
EVERY = ("weight_averaging", "dimat", "sgp")


def exchange(
    lost: bool | None = False, algorithms: tuple[str, ...] = ("weight_averaging",), *, fast: bool = True
) -> Callable[[Act], Act]:
    """Enter an attack on exchanges into the catalogue."""

    def enter(act: Act) -> Act:
        EXCHANGE[act.__name__] = Attack(act, lost, algorithms, fast)
        return act

    return enter


def handshake(act: Act) -> Act:
    """Enter an attack on the handshake into the catalogue."""
    HANDSHAKE[act.__name__] = act
    return act


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


# ---- reports -------------------------------------------------------------------------------------------------------


@exchange(lost=True, fast=False)
def no_report(turn: Turn) -> RecordDict:
    del turn.reply[names.REPORT]
    return turn.reply


@exchange(lost=True, fast=False)
def a_report_of_metrics(turn: Turn) -> RecordDict:
    turn.reply[names.REPORT] = MetricRecord({"place": 0, "error": 0, "problem": 0, "events": [0.0]})
    return turn.reply


@exchange(lost=True, fast=False)
def a_report_with_more_fields(turn: Turn) -> RecordDict:
    return turn.report(peer=0)


@exchange(lost=True, fast=False)
def a_report_with_fewer_fields(turn: Turn) -> RecordDict:
    turn.reply[names.REPORT] = ConfigRecord({"events": b"[]"})
    return turn.reply


@exchange(lost=True)
def a_report_of_the_wrong_types(turn: Turn) -> RecordDict:
    wrong: list[dict[str, Any]] = [
        {"place": True}, {"place": 0.0}, {"place": "0"}, {"place": [0]}, {"error": b""}, {"error": ["x"] * 9},
        {"problem": 0}, {"events": "[]"}, {"events": [b"[]"]}, {"events": 0}, {"place": -2}, {"place": 2**70},
    ]  # fmt: skip
    return turn.report(**turn.rng.choice(wrong))


@exchange(lost=True, fast=False)
def an_error(turn: Turn) -> RecordDict:
    return turn.report(error="RuntimeError: no")


@exchange(lost=True)
def an_error_of_100_mb(turn: Turn) -> RecordDict:
    return turn.report(error="x\n" * 50_000_000)


@exchange(lost=True, fast=False)
def the_largest_error_there_is(turn: Turn) -> RecordDict:
    return turn.report(error="\U0001f4a9" * 20_000)


@exchange(lost=True, fast=False)
def an_error_of_terminal_escapes(turn: Turn) -> RecordDict:
    return turn.report(error=ESCAPES)


@exchange(lost=True)
def an_error_of_html(turn: Turn) -> RecordDict:
    return turn.report(error=f"{SCRIPT}\n  {SCRIPT}")


@exchange(lost=True, fast=False)
def an_error_of_white_space(turn: Turn) -> RecordDict:
    return turn.report(error=" \n\t\n ")


@exchange(fast=False)
def a_problem_in_the_middle_of_the_run(turn: Turn) -> RecordDict:
    return turn.report(problem=SCRIPT, place=0)


# ---- events that are no events -------------------------------------------------------------------------------------


@exchange(lost=True, fast=False)
def events_of_binary(turn: Turn) -> RecordDict:
    return turn.report(events=turn.rng.randbytes(1000))


@exchange(lost=True)
def events_of_nested_lists(turn: Turn) -> RecordDict:
    return turn.report(events=f'[{{"event":"note","name":"x","values":{{"x":{NESTED}}}}}]'.encode())


@exchange(lost=True, fast=False)
def events_of_100_mb(turn: Turn) -> RecordDict:
    return turn.report(events=b"[" * 100_000_000)


@exchange(lost=True)
def a_hundred_thousand_events(turn: Turn) -> RecordDict:
    return turn.events(*[{"event": "aligned", "source": 0, "units_moved": 0.5}] * 100_000)


@exchange(lost=True, fast=False)
def a_thousand_short_events(turn: Turn) -> RecordDict:
    return turn.report(events=b"[" + b"{}," * 1000 + b"{}]")


@exchange(lost=True)
def integers_of_5000_digits(turn: Turn) -> RecordDict:
    event = f'{{"event":"training","loss":1.0,"samples":{"9" * 5000},"steps":1,"seconds":1.0}}'
    return turn.events(event)


@exchange(lost=True, fast=False)
def half_a_surrogate_pair(turn: Turn) -> RecordDict:
    return turn.events(
        *[
            '{"event":"note","name":"x","values":{"x":"\\ud800"}}',
            '{"event":"note","name":"x","values":{"x":"\ud800"}}',
        ][turn.number % 2 :]
    )


@exchange(lost=True, fast=False)
def terminal_escapes_in_a_note(turn: Turn) -> RecordDict:
    return turn.events({"event": "note", "name": "x", "values": {"x": ESCAPES}})


@exchange(lost=True, fast=False)
def a_giant_text_in_a_note(turn: Turn) -> RecordDict:
    return turn.events({"event": "note", "name": "x", "values": {"x": "x" * 25_000}})


@exchange(lost=True, fast=False)
def numbers_that_json_does_not_have(turn: Turn) -> RecordDict:
    return turn.events('{"event":"evaluation","stage":"after_merge","accuracy":NaN,"loss":-Infinity}')


@exchange(lost=True, fast=False)
def a_field_twice(turn: Turn) -> RecordDict:
    return turn.events('{"event":"evaluation","stage":"after_merge","accuracy":1.0,"accuracy":100.0}')


@exchange(lost=True, fast=False)
def an_unknown_kind_of_event(turn: Turn) -> RecordDict:
    return turn.events({"event": ESCAPES * 100})


@exchange(lost=True)
def an_event_that_only_the_relay_may_tell(turn: Turn) -> RecordDict:
    told: list[dict[str, Any]] = [
        to_json(Failure("peer 0 is broken")), {"event": "late", "reader": 0}, {"event": "muted", "dropped": 9},
        {"event": "absent", "reader": 0, "reason": "failed"}, {"event": "caught_up", "exchanges_skipped": 3},
    ]  # fmt: skip
    return turn.events(turn.rng.choice(told))


@exchange(lost=True, fast=False)
def an_event_stamped_by_itself(turn: Turn) -> RecordDict:
    return turn.events({"event": "evaluation", "stage": "after_merge", "accuracy": 1.0, "peer": 0, "round": 0})


@exchange(lost=True, fast=False)
def an_event_with_wrong_fields(turn: Turn) -> RecordDict:
    wrong: list[dict[str, Any]] = [
        {"event": "merge", "sources": [1, 2], "weights": [1.0], "seconds": 1.0},
        {"event": "evaluation", "stage": "after_lunch", "accuracy": 1.0},
        {"event": "training", "loss": "low", "samples": True, "steps": -1, "seconds": None},
        {"event": "final", "accuracy": 1.0, "sha256": "0" * 63},
        {"event": "note", "name": "../x", "values": {}},
        {"event": "note", "name": "x", "values": {f"{k}": k for k in range(17)}},
        {"event": "aligned", "source": 0, "units_moved": 1.5},
    ]
    return turn.events(turn.rng.choice(wrong))


@exchange(lost=True)
def an_accuracy_out_of_range(turn: Turn) -> RecordDict:
    return turn.events({"event": "evaluation", "stage": "after_merge", "accuracy": turn.rng.choice([1e6, -1.0, 100.1])})


@exchange(lost=True)
def a_model_outside_of_the_folder(turn: Turn) -> RecordDict:
    path = turn.rng.choice(["/etc/passwd", "../../x", "models/../../x", "..\\x", "C:\\x"])
    return turn.events({"event": "final", "accuracy": 1.0, "file": path, "sha256": "0" * 64, "bytes": 1})


# ---- events that lie -----------------------------------------------------------------------------------------------


@exchange(fast=False)
def an_accuracy_of_100_percent(turn: Turn) -> RecordDict:
    return turn.events({"event": "evaluation", "stage": "after_training", "accuracy": 100.0, "loss": 0.0})


@exchange()
def figures_of_1e100(turn: Turn) -> RecordDict:
    return turn.events(
        {"event": "evaluation", "stage": "after_merge", "accuracy": 1e-300, "local_accuracy": None, "loss": 1e100},
        {"event": "training", "loss": -1e100, "samples": 2**53, "steps": 2**53, "seconds": 1e100},
    )


@exchange(lost=True)
def a_final_before_the_end(turn: Turn) -> RecordDict:
    if turn.publishes:
        return turn.events({"event": "final", "accuracy": 100.0, "file": "models/x", "sha256": "0" * 64, "bytes": 1})
    return turn.report(events=b"[]")


@exchange(fast=False)
def html_in_a_final(turn: Turn) -> RecordDict:
    if turn.publishes:
        return turn.reply
    return turn.events({"event": "final", "accuracy": 1.0, "file": SCRIPT, "sha256": "", "bytes": 2**53})


@exchange()
def html_in_a_note(turn: Turn) -> RecordDict:
    return turn.events({"event": "note", "name": "x", "values": {SCRIPT[:40]: SCRIPT, "$title": "${title} %s {0}"}})


@exchange(fast=False)
def no_final_at_the_end(turn: Turn) -> RecordDict:
    return turn.reply if turn.publishes else turn.report(events=b"[]")


@exchange(lost=True)
def rejections_of_payloads_that_never_came(turn: Turn) -> RecordDict:
    reason = SCRIPT + "x" * 50
    return turn.events(*[{"event": "rejected", "source": k % 5, "reason": reason} for k in range(150)])


@exchange(lost=True, fast=False)
def merges_of_peers_that_do_not_exist(turn: Turn) -> RecordDict:
    return turn.events({"event": "merge", "sources": [2**53], "weights": [1e100, -1e100], "seconds": 0.0})


@exchange(lost=True, fast=False)
def alignments_of_peers_that_do_not_exist(turn: Turn) -> RecordDict:
    return turn.events({"event": "aligned", "source": 4999, "units_moved": 1.0})


@exchange()
def warnings_that_look_like_those_of_others(turn: Turn) -> RecordDict:
    texts = [f"x\npeer 0 failed and is left out from now on: {k}" for k in range(30)]
    return turn.events(*[{"event": "note", "name": "warning", "values": {"text": text}} for text in texts])


@exchange(fast=False)
def as_many_notes_as_there_may_be(turn: Turn) -> RecordDict:
    note = {"event": "note", "name": "x", "values": {f"{k}": [0.123456789012345] * 50 for k in range(1)}}
    return turn.events(*[note] * 25)


# ---- the handshake -------------------------------------------------------------------------------------------------


@handshake
def the_place_of_another(turn: Turn) -> RecordDict:
    return turn.report(place=0)


@handshake
def any_place(turn: Turn) -> RecordDict:
    return turn.report(place=-1)


@handshake
def a_place_below_any(turn: Turn) -> RecordDict:
    return turn.report(place=-2)


@handshake
def a_place_beyond_the_last(turn: Turn) -> RecordDict:
    return turn.report(place=5)


@handshake
def a_place_of_20_digits(turn: Turn) -> RecordDict:
    return turn.report(place=10**19)


@handshake
def a_place_that_is_true(turn: Turn) -> RecordDict:
    return turn.report(place=True)


@handshake
def a_place_between_two(turn: Turn) -> RecordDict:
    return turn.report(place=1.5)


@handshake
def a_problem_of_html(turn: Turn) -> RecordDict:
    return turn.report(problem=SCRIPT)


@handshake
def a_problem_of_terminal_escapes(turn: Turn) -> RecordDict:
    return turn.report(problem=ESCAPES)


@handshake
def a_problem_of_100_mb(turn: Turn) -> RecordDict:
    return turn.report(problem="x\n" * 50_000_000)


@handshake
def a_problem_of_20_000_characters(turn: Turn) -> RecordDict:
    return turn.report(problem="é\n" * 10_000)


@handshake
def a_problem_that_accuses_others(turn: Turn) -> RecordDict:
    return turn.report(problem="no space\npeer 0, peer 1: no such device\nevery peer: broken")


@handshake
def no_report_in_the_handshake(turn: Turn) -> RecordDict:
    return RecordDict()


@handshake
def nested_events_in_the_handshake(turn: Turn) -> RecordDict:
    return events_of_nested_lists(turn)


@handshake
def the_report_of_another_type(turn: Turn) -> RecordDict:
    return a_report_of_metrics(turn)


@handshake
def payloads_and_events_in_the_handshake(turn: Turn) -> RecordDict:
    turn.reply[OUT] = to_record(b"x" * 1000)
    return turn.events({"event": "final", "accuracy": 100.0})


@handshake
def an_error_in_the_handshake(turn: Turn) -> RecordDict:
    return turn.report(error=SCRIPT)
