"""Leaving a model as it was: modes, attributes, buffers and the global random state."""

from collections.abc import Callable, Iterator
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
    undo = [_remembered(vars(module), set()) for module in model.modules()]
    with torch.random.fork_rng(devices=sorted(d for d in devices if d is not None)):
        try:
            yield
        finally:
            for step in undo:
                step()


def _remembered(content: Any, seen: set[int]) -> Callable[[], None]:
    """Return a function that makes a container hold again, at every depth, what it holds now."""
    seen.add(id(content))
    held = list(content.values()) if isinstance(content, dict) else list(content)
    inner = [_remembered(x, seen) for x in held if isinstance(x, dict | list | set) and id(x) not in seen]
    tensors = [(x, x.detach().clone(), x._version) for x in held if _may_change(x)]
    saved = content.copy()

    def undo() -> None:
        content.clear()
        if isinstance(content, list):
            content.extend(saved)
        else:
            content.update(saved)
        for step in inner:
            step()
        with torch.no_grad():
            for tensor, value, version in tensors:
                if tensor._version != version:
                    tensor.copy_(value)

    return undo


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
