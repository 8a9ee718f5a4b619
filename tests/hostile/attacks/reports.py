"""What a report may say."""

from typing import Any

from flwr.app import ConfigRecord, MetricRecord, RecordDict

from dimat_flwr.wire import names
from tests.hostile.attacks.base import ESCAPES, SCRIPT, Turn, exchange


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
