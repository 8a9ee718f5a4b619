"""What events may be: no events at all, or lies."""

from typing import Any

from flwr.app import RecordDict

from dimat_flwr.events import Failure, to_json
from tests.hostile.attacks.base import ESCAPES, NESTED, SCRIPT, Turn, exchange

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


@exchange(lost=True)
def figures_that_the_observer_alone_finds(turn: Turn) -> RecordDict:
    told: list[dict[str, Any]] = [
        {"event": "consensus", "stage": "after_merge", "distance": 1e9, "models": 5},
        {"event": "gradient_norm", "norm": 0.0, "models": 5},
        {"event": "counterfactual", "accuracy": 100.0, "local_accuracy": 100.0, "loss": 0.0, "models": 5},
    ]
    return turn.events(turn.rng.choice(told))


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
