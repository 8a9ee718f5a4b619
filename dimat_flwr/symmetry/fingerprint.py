"""What a specification depends on, as one hash: the network's structure, source, sizes and settings, and this engine.

Weights are left out, since the specification is the same whatever they are.
"""

import hashlib
import importlib.util
import sys
import types
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from dimat_flwr.symmetry.rules.registry import RULES
from dimat_flwr.symmetry.tracing.call import Call, Example

_PLAIN = (str, bytes, int, float, complex, bool, type(None), torch.dtype, torch.device, torch.Size)
_IGNORED = ("training", "_is_full_backward_hook", "_compiled_call_impl")


def fingerprint(model: nn.Module, example_input: Example) -> str:
    """Return a hexadecimal hash, the same in every process, of what a network's specification depends on."""
    digest = _Digest()
    digest.add(torch.__version__, _engine(), [_code_of_rule(name) for name in sorted(RULES) if _foreign(name)])
    digest.add(Call.of(example_input).args, Call.of(example_input).kwargs)
    digest.add(model)
    return digest.finished()


def _foreign(name: str) -> bool:
    return not RULES[name].function.__module__.startswith("dimat_flwr.symmetry.rules.")


def _code_of_rule(name: str) -> Any:
    return name, RULES[name].function


@cache
def _engine() -> bytes:
    """Return a hash of this package's own source: a corrected rule makes every stored specification stale."""
    files = sorted(Path(__file__).parent.rglob("*.py"))
    return hashlib.sha256(b"\0".join(file.read_bytes() for file in files)).digest()


@cache
def _source(module: str) -> bytes:
    """Return a hash of a module's file, or of its package's version where the package is installed."""
    package = sys.modules.get(module.partition(".")[0])
    version = getattr(package, "__version__", None)
    found = getattr(sys.modules.get(module), "__file__", None)
    if version is not None and found is not None and "site-packages" in found:
        return f"{module} {version}".encode()
    if found is None or not Path(found).exists():
        return module.encode()
    return hashlib.sha256(Path(found).read_bytes()).digest()


class _Digest:
    """Hashes nested Python values by content; never by address or by ``repr`` of something unknown."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._order: dict[int, int] = {}  # what was seen, so that ties are part of the hash and cycles end
        self._alive: list[Any] = []
        self._modules: set[str] = set()

    def add(self, *values: Any) -> None:
        """Take values in."""
        for value in values:
            self._add(value)

    def finished(self) -> str:
        """Return the hash, with the sources of all classes and functions met, and of what they import."""
        for module in sorted(_with_imports(self._modules)):
            self._hash.update(_source(module))
        return self._hash.hexdigest()

    def _put(self, *parts: object) -> None:
        for part in parts:
            self._hash.update(f"{type(part).__name__}:{part}\0".encode())

    def _add(self, x: Any) -> None:
        if isinstance(x, _PLAIN):
            self._put(type(x).__name__, x)
            return
        if id(x) in self._order:
            self._put("again", self._order[id(x)])
            return
        self._order[id(x)] = len(self._order)
        self._alive.append(x)  # an address must not be used again
        if isinstance(x, Tensor):
            self._add_tensor(x)
        elif isinstance(x, dict | types.MappingProxyType):
            self._put("dict", len(x))
            self.add(*(item for pair in x.items() if pair[0] not in _IGNORED for item in pair))
        elif isinstance(x, list | tuple):
            self._put(type(x).__qualname__, len(x))
            self.add(*x)
        elif isinstance(x, set | frozenset):
            self._put("set", *sorted(map(str, x)))
        elif isinstance(x, type):
            self._add_definition(x)
        elif isinstance(x, types.FunctionType):
            self._add_definition(x)
            self.add(x.__code__.co_code, [c for c in x.__code__.co_consts if isinstance(c, _PLAIN)])
            self.add(x.__defaults__, [cell.cell_contents for cell in x.__closure__ or ()])
        elif isinstance(x, types.MethodType):
            self.add(x.__func__, x.__self__)
        elif isinstance(x, nn.Module):
            self._add_definition(type(x))
            unsaved = x._non_persistent_buffers_set
            self.add({k: v for k, v in vars(x).items() if k not in ("_buffers", "_non_persistent_buffers_set")})
            self.add({k: (v, _content(v)) if k in unsaved else v for k, v in x._buffers.items()})
        else:
            self._add_definition(type(x))
            self.add(getattr(x, "__dict__", None), getattr(x, "__name__", None))

    def _add_tensor(self, x: Tensor) -> None:
        self._put("tensor", tuple(x.shape), x.dtype, isinstance(x, nn.Parameter))

    def _add_definition(self, x: Any) -> None:
        self._put(x.__module__, x.__qualname__)
        self._modules.update(base.__module__ for base in getattr(x, "__mro__", (x,)))


def _content(tensor: Tensor | None) -> bytes:
    """Return the values of a tensor that is part of the program, not of the state dict."""
    return b"" if tensor is None else tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()


def _with_imports(modules: Iterable[str]) -> set[str]:
    """Return modules and those of the same packages whose functions, classes or names they hold, transitively."""
    found: set[str] = set()
    waiting = [m for m in modules if m in sys.modules]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        file = getattr(sys.modules[name], "__file__", None)
        if file is None or "site-packages" in file or importlib.util.find_spec(name.partition(".")[0]) is None:
            continue
        top = name.partition(".")[0]
        for value in list(vars(sys.modules[name]).values()):
            home = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
            if isinstance(home, str) and home.partition(".")[0] == top and home in sys.modules:
                waiting.append(home)
    return found
