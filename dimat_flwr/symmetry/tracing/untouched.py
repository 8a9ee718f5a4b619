"""Leaving a model as it was: modes, attributes, buffers and the global random state."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Undo, at the end, what running or tracing the model does to it.

    Covers the mode, every attribute of every module, what is in its lists, dicts and sets, and the values of its
    buffers and other tensors that are no parameters: forward passes that count, log or cache keep nothing. The
    global random generators (CPU, and the model's devices) are put back too.
    """
    devices = {t.device.index for t in model.parameters() if t.device.type == "cuda"}
    kept: dict[int, _Kept] = {}
    for module in model.modules():
        _remember(vars(module), kept)
    with torch.random.fork_rng(devices=sorted(d for d in devices if d is not None)):
        try:
            yield
        finally:
            for held in kept.values():
                held.restore()


class _Kept:
    """What a container holds, and the values of the tensors in it that running a model may write into."""

    __slots__ = ("_content", "_saved", "_tensors")

    def __init__(self, content: Any):
        self._content, self._saved = content, content.copy()
        held = self._saved.values() if isinstance(content, dict) else self._saved
        self._tensors = [(x, x.detach().clone(), x._version) for x in held if _may_change(x)]

    def restore(self) -> None:
        content, saved = self._content, self._saved
        if not _holds_the_same(content, saved):
            content.clear()
            if isinstance(content, list):
                content.extend(saved)
            else:
                content.update(saved)
        with torch.no_grad():
            for tensor, value, version in self._tensors:
                if tensor._version != version:
                    tensor.copy_(value)


def _remember(content: Any, kept: dict[int, _Kept]) -> None:
    """Remember a container and those inside of it."""
    kept[id(content)] = _Kept(content)
    for x in list(content.values()) if isinstance(content, dict) else list(content):
        if isinstance(x, dict | list | set) and id(x) not in kept:
            _remember(x, kept)


def _holds_the_same(content: Any, saved: Any) -> bool:
    if len(content) != len(saved):
        return False
    if isinstance(content, dict):
        return all(k is j and content[k] is saved[j] for k, j in zip(content, saved, strict=True))
    return all(x is y for x, y in zip(content, saved, strict=True))


def _may_change(x: Any) -> bool:
    """Whether running a model may write into a tensor it holds; its parameters are always replaced."""
    return isinstance(x, Tensor) and not isinstance(x, nn.Parameter) and x.is_leaf and not x.requires_grad


@contextmanager
def in_mode(model: nn.Module, *, train: bool) -> Iterator[None]:
    """Put the model in a mode, and every module of it back into its own afterwards."""
    modes = {module: module.training for module in model.modules()}
    model.train(train)
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
