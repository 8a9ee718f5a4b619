"""Keeping what a process has made, for as many peers as it may run."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import ClassVar, Generic, TypeVar, TypeVarTuple

Arguments = TypeVarTuple("Arguments")
Result = TypeVar("Result")


class Kept(Generic[*Arguments, Result]):
    """A function that keeps its latest results, like ``functools.lru_cache``, with room for one of each peer.

    Peers may have files of their own, and each takes its turn in every exchange: with less room than peers, whatever a
    peer needs next would just have been thrown away.

    Attributes:
        room: how many results each such function keeps; see ``make_room``.
    """

    room: ClassVar[int] = 64

    def __init__(self, make: Callable[[*Arguments], Result]) -> None:
        """Keep the results of ``make``, whose arguments are hashable and given by position."""
        self._make = make
        self._results: OrderedDict[Hashable, Result] = OrderedDict()
        self._lock = Lock()
        self.__doc__ = make.__doc__

    @classmethod
    def make_room(cls, peers: int) -> None:
        """Keep at least so many results from now on, of every function."""
        cls.room = max(cls.room, peers)

    def __call__(self, *arguments: *Arguments) -> Result:
        """Return the very same object for equal arguments, while there is room."""
        with self._lock:
            if arguments in self._results:
                self._results.move_to_end(arguments)
                return self._results[arguments]
        result = self._make(*arguments)
        with self._lock:
            self._results[arguments] = result
            while len(self._results) > self.room:
                self._results.popitem(last=False)
        return result

    def cache_clear(self) -> None:
        """Forget all results."""
        with self._lock:
            self._results.clear()
