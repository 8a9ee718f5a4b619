"""What a network is called with: one tensor, a tuple of arguments, or keyword arguments."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from dimat_flwr.symmetry.errors import SymmetryError

Example = Tensor | tuple[Any, ...] | Mapping[str, Any]  # one input, several, or named ones


@dataclass(frozen=True, eq=False)
class Call:
    """Arguments of one call of a network.

    Attributes:
        args: the positional ones.
        kwargs: the named ones.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @staticmethod
    def of(example: Any) -> "Call":
        """Return the call that an example stands for: a mapping names arguments, a tuple lists them."""
        if isinstance(example, Call):
            return example
        if isinstance(example, Mapping):
            return Call((), dict(example))
        return Call(example if isinstance(example, tuple) else (example,), {})

    @staticmethod
    def to(model: nn.Module, example: Any) -> "Call":
        """Return the call of a model, named arguments in the order in which its ``forward`` names them."""
        call = Call.of(example)
        order = [name for name in inspect.signature(model.forward).parameters if name in call.kwargs]
        rest = [name for name in call.kwargs if name not in order]
        return Call(call.args, {name: call.kwargs[name] for name in (*order, *rest)})

    def map(self, change: Callable[[Any], Any]) -> "Call":
        """Return the call with every leaf changed: what is no tuple, list or dict."""
        return Call(_mapped(self.args, change), _mapped(self.kwargs, change))

    def leaves(self, like: "Call | None" = None) -> list[Any]:
        """Return all leaves, dicts in the order of another call's.

        Raises:
            SymmetryError: the two are not built alike.
        """
        pattern = self if like is None else like
        found: list[Any] = []
        _collect((self.args, self.kwargs), (pattern.args, pattern.kwargs), found)
        return found

    def tensors(self) -> list[Tensor]:
        """Return the tensors among the leaves."""
        return [x for x in self.leaves() if isinstance(x, Tensor)]

    @property
    def samples(self) -> int | None:
        """Size of the batch: of dim 0 of the first tensor that has one."""
        return next((x.shape[0] for x in self.tensors() if x.ndim), None)


def at_least_two(call: Call) -> Call:
    """Return a call with at least two samples: a batch of one would be taken for a fixed size."""
    if call.samples != 1:
        return call
    return call.map(lambda x: x.expand(2, *x.shape[1:]).clone() if _is_batch(x, 1) else x)


def _is_batch(x: Any, samples: int) -> bool:
    return isinstance(x, Tensor) and x.ndim > 0 and x.shape[0] == samples


def _mapped(x: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(x, dict):
        return {key: _mapped(value, change) for key, value in x.items()}
    if type(x) in (tuple, list):
        return type(x)(_mapped(item, change) for item in x)
    return change(x)


def _collect(x: Any, pattern: Any, into: list[Any]) -> None:
    if isinstance(pattern, dict):
        if not isinstance(x, Mapping) or x.keys() != pattern.keys():
            given = list(x) if isinstance(x, Mapping) else type(x).__name__
            raise SymmetryError(f"the traced network takes inputs named {list(pattern)}, got {given}")
        for key, part in pattern.items():
            _collect(x[key], part, into)
    elif type(pattern) in (tuple, list):
        if not isinstance(x, tuple | list) or len(x) != len(pattern):
            given = f"{len(x)}" if isinstance(x, tuple | list) else type(x).__name__
            raise SymmetryError(f"the traced network takes {len(pattern)} inputs, got {given}")
        for item, part in zip(x, pattern, strict=True):
            _collect(item, part, into)
    else:
        into.append(x)
