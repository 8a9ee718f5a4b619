"""Whatever a socket brings, a worker takes it for an errand or for nothing, and waits for the next call."""

import os
import socket
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord, MetricRecord, RecordDict
from hypothesis import given
from hypothesis import strategies as st

from dimat_flwr.topology import Row
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction, Next
from dimat_flwr.wire.report import Report
from dimat_flwr.worker import guard
from dimat_flwr.worker.errand import Errand
from dimat_flwr.worker.errors import LineError, SilentError
from dimat_flwr.worker.guard import Door, Guard
from dimat_flwr.worker.line import Line
from dimat_flwr.worker.parcel import receive_records, send_records
from dimat_flwr.worker.serve import _Worker
from tests.worker.asking import arrays


class Bench:
    """A worker in this process, whose work is to remember what it was asked."""

    def __init__(self) -> None:
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind("")  # Linux makes up a name
        self.listener.listen()
        self.door = Door(self.listener, os.getpid())
        self.done: list[tuple[Any, ...]] = []
        self.reply = RecordDict()

    def handle(self, *errand: Any) -> RecordDict:
        self.done.append(errand)
        return self.reply

    def attend(self, data: bytes) -> bool:
        """Let it read what a caller has sent who has hung up since; return whether it goes on."""
        caller, line = pair()
        with caller, line:
            writer = threading.Thread(target=_write, args=(caller.connection, data))
            writer.start()
            goes_on = _Worker("one", self.handle, self.door).attend(line)
            writer.join()
        return goes_on


def _write(connection: socket.socket, data: bytes) -> None:
    with suppress(OSError):  # the worker need not read to the end
        connection.sendall(data)
        connection.shutdown(socket.SHUT_WR)


def pair(silence: float = 60.0) -> tuple[Line, Line]:
    one, other = socket.socketpair()
    return Line(one, silence), Line(other, silence)


def sent(*, identity: str = "one", kind: str = "kind", content: RecordDict | None = None) -> bytes:
    """Return the bytes of a call and an errand."""
    content = content or RecordDict({"model": arrays(5), "metrics": MetricRecord({"a": 1.5}), "no": ConfigRecord({})})
    errand = Errand(kind, content, RecordDict({"state": arrays(2)}), {"rounds": 3}, {}, Path("conf"))
    taken = []

    class Tape:
        def settimeout(self, _: float) -> None: ...

        def send(self, data: bytes) -> int:
            taken.append(bytes(data))
            return len(data)

    line = Line(Tape())  # type: ignore[arg-type]
    line.say("call", identity=identity)
    errand.send(line)
    return b"".join(taken)


@pytest.fixture(autouse=True)
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return why the worker would have ended its process."""
    reasons: list[str] = []
    monkeypatch.setattr(guard, "_leave", reasons.append)
    return reasons


WHOLE = sent()


def test_an_errand_arrives_as_it_was_sent() -> None:
    bench = Bench()
    assert bench.attend(WHOLE)
    ((kind, content, state, run_config, node_config, conf_dir),) = bench.done
    assert (kind, run_config, node_config, conf_dir) == ("kind", {"rounds": 3}, {}, Path("conf"))
    assert content == RecordDict({"model": arrays(5), "metrics": MetricRecord({"a": 1.5}), "no": ConfigRecord({})})
    assert state == RecordDict({"state": arrays(2)})


@given(st.binary(max_size=300))
def test_any_bytes_in_the_place_of_a_call_are_nothing(data: bytes) -> None:
    bench = Bench()
    assert bench.attend(data)
    assert not bench.done


@given(st.data())
def test_any_change_of_a_call_makes_it_another_one_or_nothing(data: st.DataObject) -> None:
    bench, at = Bench(), data.draw(st.integers(0, len(WHOLE) - 1))
    changed = data.draw(
        st.one_of(
            st.just(WHOLE[:at]),
            st.integers(0, 255).map(lambda byte: WHOLE[:at] + bytes([byte]) + WHOLE[at + 1 :]),
            st.binary(min_size=1, max_size=20).map(lambda more: WHOLE[:at] + more + WHOLE[at:]),
            st.integers(1, 20).map(lambda cut: WHOLE[:at] + WHOLE[at + cut :]),
        )
    )
    bench.attend(changed)  # raises nothing
    assert len(bench.done) <= 1
    for _, content, state, *_ in bench.done:
        assert isinstance(content, RecordDict)
        assert isinstance(state, RecordDict)


@given(st.binary(max_size=200))
def test_any_bytes_in_the_place_of_records_are_records_or_nothing(data: bytes) -> None:
    one, other = pair()
    with one, other:
        one.send(data)
        one.connection.shutdown(socket.SHUT_WR)
        with suppress(LineError):
            assert isinstance(receive_records(other), RecordDict)


def test_another_identity_is_told_so_and_ends_one_that_has_worked() -> None:
    bench, calls = Bench(), [sent(), sent(identity="two"), sent()]
    worker = _Worker("one", bench.handle, bench.door)
    went_on = []
    for call in calls:
        caller, line = pair()
        with caller, line:
            threading.Thread(target=_write, args=(caller.connection, call)).start()
            went_on.append(worker.attend(line))
    assert went_on == [True, False, True]
    assert len(bench.done) == 2


def test_more_bytes_than_may_be_are_not_waited_for() -> None:
    one, other = pair()
    with one, other:
        one.connection.sendall((1 << 50).to_bytes(8, "big"))
        with pytest.raises(LineError, match="are the most"):
            other.receive()
        one.connection.sendall((64_000_001).to_bytes(8, "big"))
        with pytest.raises(LineError, match="are the most"):
            other.hear()


def test_silence_is_not_waited_for_for_ever_and_a_beat_is_no_silence() -> None:
    one, other = pair(silence=0.3)
    with one, other:
        with pytest.raises(SilentError):
            other.hear()
        one.beat()
        one.say("done")
        assert other.hear() == {"kind": "done"}


def test_arrays_of_no_bytes_and_of_many_arrive() -> None:
    records = RecordDict(
        {"a": ArrayRecord({"big": Array("uint8", (3_000_001,), "mine", b"\7" * 3_000_001)}), "b": arrays(0)}
    )
    one, other = pair()
    with one, other:
        thread = threading.Thread(target=send_records, args=(one, records))
        thread.start()
        assert receive_records(other) == records
        thread.join()


def test_the_work_ends_with_who_asked_for_it_or_with_the_supernode(left: list[str]) -> None:
    caller, line = pair()
    with line, Guard(line, Bench().door) as watch:
        caller.connection.close()
        watch._thread.join()
    assert left == ["who asked for it has gone"]
    caller, line = pair()
    with caller, line, Guard(line, Door(Bench().listener, _gone())) as watch:
        watch._thread.join()
    assert left[1:] == ["the SuperNode has gone"]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="only Linux tells of zombies")
def test_a_supernode_that_has_ended_and_that_nobody_has_taken_note_of_wants_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        door = Door(Bench().listener, process.pid)
        assert door.is_wanted()
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        assert not door.is_wanted()
        assert door.next(idle=60.0) is None


def test_a_guard_that_fails_ends_the_worker(left: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Door, "is_wanted", lambda _: 1 / 0)
    caller, line = pair()
    with caller, line, Guard(line, Bench().door) as watch:
        watch._thread.join()
    assert "division by zero" in left[0]


def _gone() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def instruction(**fields: Any) -> RecordDict:
    asked = Instruction(peer=0, peers=2, run="run", simulation=False, round=1, rounds=1, number=1, **fields)
    return RecordDict({names.INSTRUCTION: asked.to_record()})


COMING = Next(round=1, exchange="merge", handler="algorithm", readers=[1])


@pytest.mark.parametrize(
    ("kind", "coming", "report", "goes_on"),
    [
        (names.SETUP_MESSAGE, None, Report(place=0), True),
        (names.SETUP_MESSAGE, None, Report(place=0, problem="no data"), False),
        (names.EXCHANGE_MESSAGE, COMING, Report(), True),
        (names.EXCHANGE_MESSAGE, COMING, Report(error="a traceback"), False),
        (names.EXCHANGE_MESSAGE, None, Report(), False),
        (names.RESTORE_MESSAGE, None, Report(), True),
    ],
)
def test_it_ends_with_the_run(kind: str, coming: Next | None, report: Report, goes_on: bool) -> None:
    bench = Bench()
    bench.reply = RecordDict({names.REPORT: report.to_record()})
    content = instruction(next=coming, row=Row(1.0, {}, "rows"))
    assert bench.attend(sent(kind=kind, content=content)) == goes_on
