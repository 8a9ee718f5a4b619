"""What may be answered before the run begins."""

from flwr.app import RecordDict

from dimat_flwr.security.identity import Identity, Introduction, new_nonce
from dimat_flwr.wire.payload import to_record
from tests.hostile.attacks.base import ESCAPES, OUT, SCRIPT, Turn, handshake
from tests.hostile.attacks.reports import a_report_of_metrics
from tests.hostile.attacks.told import events_of_nested_lists


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
def an_introduction_of_html(turn: Turn) -> RecordDict:
    return turn.report(introduction=SCRIPT)


@handshake
def an_introduction_of_terminal_escapes(turn: Turn) -> RecordDict:
    return turn.report(introduction=ESCAPES)


@handshake
def an_introduction_of_100_mb(turn: Turn) -> RecordDict:
    return turn.report(introduction="seal:" * 20_000_000)


@handshake
def an_introduction_where_nobody_signs(turn: Turn) -> RecordDict:
    return turn.report(introduction=str(Introduction(Identity.new().public, new_nonce(), seals=True)))


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
