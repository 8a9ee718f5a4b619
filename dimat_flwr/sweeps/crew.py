"""Processes that stay warm: each takes task after task, and none of them outlives who called them."""

import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from typing import Any

_PATIENCE_S = 5.0  # until a process that was asked to end is made to


@dataclass(frozen=True)
class Failed:
    """A task that raised, or whose process died.

    Attributes:
        reason: in a line.
        traceback: where; empty for a process that died.
    """

    reason: str
    traceback: str = ""


@dataclass
class _Hand:
    """One process and what it is at."""

    process: Any
    connection: Connection
    environment: Mapping[str, str]
    task: int | None = None


@dataclass
class Crew:
    """A fixed number of processes; use it as a context manager.

    A process that dies, killed for memory for example, fails its task alone: another one takes its place.

    Attributes:
        environments: one mapping for each process: what it adds to its environment before anything is imported.
        prepare: ``module:function`` to call once in each process, before its first task.
    """

    environments: Sequence[Mapping[str, str]]
    prepare: str
    _hands: list[_Hand] = field(default_factory=list, init=False)

    def __enter__(self) -> "Crew":
        """Start the processes."""
        self._hands = [self._hire(environment) for environment in self.environments]
        return self

    def __exit__(self, *_: object) -> None:
        """End them all, whatever they are at."""
        for hand in self._hands:
            hand.process.terminate()
        for hand in self._hands:
            hand.process.join(_PATIENCE_S)
            if hand.process.is_alive():
                hand.process.kill()
                hand.process.join()
            hand.connection.close()

    def work(
        self, function: str, tasks: Sequence[Any], begun: Callable[[int], None] | None = None
    ) -> Iterator[tuple[int, Any]]:
        """Yield the number of a task and its result, or ``Failed``, as they come.

        Args:
            function: ``module:function``, imported in the processes only.
            tasks: its argument for each call, which pickle can take.
            begun: called with the number of a task when a process has got it.
        """
        waiting = deque(range(len(tasks)))
        while True:
            for place, hand in enumerate(self._hands):
                if hand.task is None and waiting:
                    number = waiting.popleft()
                    if not _sent(hand, (function, tasks[number])):
                        waiting.appendleft(number)
                        self._hands[place] = self._hire(hand.environment)  # it died between two tasks
                        continue
                    hand.task = number
                    if begun is not None:
                        begun(number)
            busy = {hand.connection: place for place, hand in enumerate(self._hands) if hand.task is not None}
            if not busy:
                if waiting:
                    continue
                return
            for connection in wait(list(busy)):
                place = busy[connection]  # type: ignore[index]
                hand = self._hands[place]
                done, hand.task = hand.task, None
                assert done is not None
                try:
                    result = hand.connection.recv()
                except (EOFError, OSError):
                    result = self._replace(place)
                yield done, result

    def _replace(self, place: int) -> Failed:
        hand = self._hands[place]
        hand.process.join()
        code = hand.process.exitcode
        hand.connection.close()
        self._hands[place] = self._hire(hand.environment)
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            hint = "; it may have needed more memory than there is" if -code == signal.SIGKILL else ""
            return Failed(f"its process was ended by {name}{hint}")
        return Failed(f"its process ended with code {code}")

    def _hire(self, environment: Mapping[str, str]) -> _Hand:
        context = multiprocessing.get_context("spawn")
        ours, theirs = context.Pipe()
        process = context.Process(target=_serve, args=(theirs, dict(environment), self.prepare), daemon=True)
        process.start()
        theirs.close()
        return _Hand(process, ours, environment)


def _sent(hand: _Hand, message: Any) -> bool:
    try:
        hand.connection.send(message)
    except OSError:
        return False
    return True


def _serve(connection: Connection, environment: Mapping[str, str], prepare: str) -> None:
    """Take tasks until there are no more, in a process of its own."""
    # Ctrl-C goes to everybody at the terminal; who called decides what becomes of it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_leave_with_the_caller, daemon=True).start()
    os.environ.update(environment)
    _function(prepare)()
    while True:
        try:
            name, argument = connection.recv()
        except (EOFError, OSError):
            return
        try:
            result = _function(name)(argument)
        # Whatever a task raises is its own failure; the next one may do well.
        except BaseException as error:  # noqa: BLE001
            text = f"{error}".strip() or type(error).__name__
            result = Failed(text, traceback.format_exc())
        connection.send(result)


def _leave_with_the_caller() -> None:
    """End this process when the one that started it is gone, however that was ended."""
    caller = multiprocessing.parent_process()
    if caller is not None:
        caller.join()
        os._exit(1)


def _function(name: str) -> Callable[..., Any]:
    from importlib import import_module

    module, _, attribute = name.partition(":")
    found: Callable[..., Any] = getattr(import_module(module), attribute)
    return found
