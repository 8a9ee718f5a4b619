"""The SuperLink gone for a while: Flower's own way of trying again tells of it, and what it took along is sent anew."""

import threading
import time
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import httpx
import pytest
from flwr.app import Error, Message, RecordDict
from flwr.common.constant import ErrorCode
from flwr.supercore.retry import make_simple_http_retry_invoker
from flwr.superlink.grid.http_grid import HttpGrid

from dimat_flwr.relay import FlowerPost
from dimat_flwr.relay.clock import ReachableTime
from dimat_flwr.relay.outages import Outages
from dimat_flwr.wire import names
from tests.in_memory_grid import FunctionGrid
from tests.relay.toy_post import SimulatedClock, ToyPost

REQUEST = httpx.Request("POST", "http://superlink/")


class Flaky(FunctionGrid):
    """A Grid whose calls fail as often as ``breaks`` says before they succeed; Flower tries again in its own way."""

    def __init__(self, error: Exception | None = None) -> None:
        super().__init__({7: lambda message: Message(RecordDict(), reply_to=message)})
        self._retry_invoker = make_simple_http_retry_invoker()
        self._retry_invoker.jitter, self._retry_invoker.should_giveup = (
            lambda _: 0.0,
            None,
        )  # Flower 1.40 gives up at 502
        self.breaks, self.error, self.pushed = 0, error or httpx.ConnectError("connection refused"), 0

    def _call(self) -> None:
        def target() -> None:
            if self.breaks:
                self.breaks -= 1
                raise self.error

        self._retry_invoker.invoke(target)

    def get_node_ids(self) -> Iterable[int]:
        self._call()
        return super().get_node_ids()

    def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
        self.pushed += 1
        return super().push_messages(messages)


def answer(post: FlowerPost, message_id: str):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if replies := post.collect([message_id]):
            (reply,) = replies
            assert reply.message_id == message_id
            return reply
        threading.Event().wait(0.005)
    raise AssertionError("no answer")


def test_the_grid_of_this_flower_tells_of_a_superlink_that_was_away() -> None:
    """Nobody listens at first, and a SuperLink that knows no nodes is started when somebody has called in vain."""

    class Empty(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.send_header("content-type", "application/x-protobuf")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Empty, bind_and_activate=False)
    server.server_bind()
    grid = HttpGrid(f"127.0.0.1:{server.server_port}", insecure=True, token="token")
    began, post, serving = time.monotonic(), FlowerPost(grid), threading.Thread(target=server.serve_forever)
    assert post.out_of_reach == 0.0
    told = grid._retry_invoker.on_backoff

    def come(state: object) -> None:
        """Listen from now on: a call has failed, and Flower is about to wait and try again."""
        told(state)
        if not serving.is_alive():
            server.server_activate()
            serving.start()

    grid._retry_invoker.on_backoff = come
    try:
        assert post.nodes() == []
    finally:
        if serving.is_alive():
            server.shutdown()
        server.server_close()
        grid.close()
    assert 0.0 < post.out_of_reach < time.monotonic() - began


def test_outages_are_counted_once_and_their_seconds_added() -> None:
    time, grid = iter([10.0, 14.5, 100.0, 103.0]), Flaky()
    outages = Outages(grid, lambda: next(time))
    for breaks in (0, 3, 0, 1, 0):
        grid.breaks = breaks
        grid.get_node_ids()
    assert (outages.count, outages.seconds) == (2, 7.5)


@pytest.mark.parametrize(("error", "counts"), [
    (httpx.ConnectError("refused"), True), (httpx.ReadError("reset"), True), (httpx.RemoteProtocolError("cut"), True),
    (httpx.HTTPStatusError("bad gateway", request=REQUEST, response=httpx.Response(502)), True),
    (httpx.ReadTimeout("slow"), False), (httpx.ConnectTimeout("slow"), False),
    (httpx.HTTPStatusError("gateway timeout", request=REQUEST, response=httpx.Response(504)), False),
])  # fmt: skip
def test_a_superlink_that_is_only_slow_is_not_asked_for_more(error: Exception, counts: bool) -> None:
    grid = Flaky(error)
    outages, grid.breaks = Outages(grid), 1
    grid.get_node_ids()
    assert outages.count == counts


def test_an_instruction_that_was_lost_with_the_superlink_is_sent_again() -> None:
    class Loses(Flaky):
        """Takes the first message, and never hands it to the device."""

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return [] if set(message_ids) == {first} else super().pull_messages(message_ids)

    grid = Loses()
    post = FlowerPost(grid)
    first = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    assert [post.collect([first]) for _ in range(3)] == [[], [], []]
    assert grid.pushed == 1
    grid.breaks = 2
    post.nodes()
    assert answer(post, first).content is not None
    assert grid.pushed == 2, "once for one outage"
    assert post.collect([first]) == []


def test_an_error_that_passes_counts_only_if_no_other_copy_may_be_answered() -> None:
    class Errs(Flaky):
        """The devices' answers to ``spoilt`` are lost, and Flower says so."""

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            for message in super().pull_messages(message_ids):
                answered = message.metadata.reply_to_message_id
                if answered in spoilt:
                    error = Error(ErrorCode.REPLY_MESSAGE_UNAVAILABLE, "gone")
                    message = Message(error, reply_to=sent[answered])
                yield message

        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            for message in messages:
                (key,) = super().push_messages([message])
                sent[key] = message
                yield key

    spoilt, sent = set(), {}
    post = FlowerPost(grid := Errs())
    alone = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    spoilt.add(alone)
    reply = answer(post, alone)
    assert (reply.content, reply.error, reply.temporary) == (None, "gone", True)
    twice = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    spoilt.add(twice)
    grid.breaks = 1
    post.nodes()
    assert answer(post, twice).content is not None


@pytest.mark.parametrize("how", ["refused", "raises"])
def test_a_message_that_was_handed_over_when_the_superlink_went_is_handed_over_anew(how: str) -> None:
    """Flower goes on with it by itself: the new SuperLink has it already and refuses it, or knows nothing of it."""

    class Interrupted(Flaky):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            was_away = bool(self.breaks)
            self._call()
            if was_away and how == "raises":
                raise ValueError("the push session may have expired")
            return [""] if was_away else super().push_messages(messages)

    post = FlowerPost(grid := Interrupted())
    grid.breaks = 1
    message_id = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    assert answer(post, message_id).content is not None


def test_an_instruction_that_was_taken_before_an_outage_and_completed_after_it_is_sent_again() -> None:
    """A device may have been handed it in between, and the answer to that was lost with the SuperLink."""

    class Slow(Flaky):
        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            (key,) = super().push_messages(messages)
            if self.breaks:  # some objects of it are pushed now
                self._call()
                handed_out.append(key)
            return [key]

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            return super().pull_messages([key for key in message_ids if key not in handed_out])

    handed_out: list[str] = []
    post = FlowerPost(grid := Slow())
    grid.breaks = 1
    message_id = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    assert handed_out == [message_id]
    assert answer(post, message_id).content is not None
    assert grid.pushed == 2


@pytest.mark.parametrize("error", [
    ValueError("Invalid protobuf response payload"), KeyError("an object that is not there any more"),
])  # fmt: skip
def test_what_an_outage_leaves_of_an_answer_is_not_the_peers_fault(error: Exception) -> None:
    class Torn(Flaky):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            was_away = bool(self.breaks)
            self._call()
            if was_away:
                raise error
            return super().pull_messages(message_ids)

    post = FlowerPost(grid := Torn())
    message_id = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    grid.breaks = 1
    reply = answer(post, message_id)
    assert (reply.content, reply.temporary) == (None, True)


def test_an_answer_that_the_superlink_has_trouble_with_ends_no_run() -> None:
    """A server error says nothing of the way to it, and Flower gives up at once; the others are asked all the same."""

    class Troubled(Flaky):
        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            if self.pushed == 1:
                raise httpx.HTTPStatusError("internal", request=REQUEST, response=httpx.Response(status))
            return super().pull_messages(message_ids)

    for status in (500, 507):  # noqa: B007
        post = FlowerPost(Troubled())
        message_id = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
        (reply,) = post.collect([message_id])
        assert (reply.content, reply.temporary) == (None, True)
    status = 400
    post = FlowerPost(Troubled())
    message_id = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    with pytest.raises(httpx.HTTPStatusError):
        post.collect([message_id])


@pytest.mark.parametrize(("status", "times", "survives"), [(500, 3, True), (507, 99, False), (400, 1, False)])
def test_a_superlink_that_has_trouble_is_given_some_minutes(
    status: int, times: int, survives: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Troubled(Flaky):
        def _trouble(self) -> None:
            self.troubles += 1
            if self.troubles <= times:
                raise httpx.HTTPStatusError("internal", request=REQUEST, response=httpx.Response(status))

        def get_node_ids(self) -> Iterable[int]:
            self._trouble()
            return super().get_node_ids()

        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            self._trouble()
            return super().push_messages(messages)

    slept: list[float] = []
    monkeypatch.setattr("dimat_flwr.relay.flower_post.time", SimpleNamespace(sleep=slept.append))
    for call in (FlowerPost.nodes, lambda post: post.send(7, names.EXCHANGE_MESSAGE, RecordDict())):
        slept.clear()
        post = FlowerPost(grid := Troubled())
        grid.troubles = 0
        if survives:
            assert call(post)
        else:
            with pytest.raises(httpx.HTTPStatusError):
                call(post)
        assert sum(slept) == (7 if survives else 120 if status == 507 else 0)


def test_after_two_outages_any_copy_may_be_answered_and_once() -> None:
    class Slow(Flaky):
        """Only the second copy is ever answered, and not before it is time."""

        def pull_messages(self, message_ids: Iterable[str]) -> Iterable[Message]:
            asked.extend(message_ids)
            return super().pull_messages(message_ids) if is_time and [*message_ids] == pushed[1:2] else []

        def push_messages(self, messages: Iterable[Message]) -> Iterable[str]:
            pushed.extend(found := list(super().push_messages(messages)))
            return found

    pushed: list[str] = []
    asked: list[str] = []
    is_time = False
    post = FlowerPost(grid := Slow())
    first = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    for number in (2, 3):
        grid.breaks = 1
        post.nodes()
        assert post.collect([first]) == []
        assert len(pushed) == number
    is_time = True
    assert answer(post, first).content is not None
    asked.clear()
    assert post.collect([first]) == []
    assert asked == []


def test_what_is_forgotten_is_neither_collected_nor_sent_again() -> None:
    post = FlowerPost(grid := Flaky())
    message_id = post.send(7, names.EXCHANGE_MESSAGE, RecordDict())
    post.forget([message_id, "never sent"])
    grid.breaks = 1
    post.nodes()
    assert post.collect([message_id]) == []
    assert grid.pushed == 1


def test_time_stands_still_while_nobody_can_be_reached() -> None:
    clock = SimulatedClock()
    post = ToyPost({}, clock, simulation=False, workers=1)
    time = ReachableTime(clock, post)
    time.sleep(5.0)
    assert time.now() == 5.0
    clock.time, post.out_of_reach = 3605.0, 3600.0
    assert time.now() == 5.0
