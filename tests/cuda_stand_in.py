"""A stand-in for a CUDA device on a machine without one: tensors that compute on the CPU and say they are elsewhere.

Whatever is called with tensors of both devices raises as torch does on a GPU, and so does what a GPU's tensor refuses
(``numpy``, a CPU generator) or does not promise (a copy to the CPU that nobody waits for). Numbers, autograd, strides
and memory formats are the CPU's. What no stand-in shows: the kernels' own numbers and limits, streams, memory, cuDNN,
tracing, ``torch.compile``, what torch's own Python code does with tensors once it has been called, and hooks of the
backward pass (training with privacy), which get plain tensors here.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves, tree_map

CUDA = torch.device("cuda", 0)

# Torch copies between devices, and takes indices of a tensor on a GPU from the CPU.
_COPIES = {"copy_", "_foreach_copy_", "set_"}
_INDEXES = {"__getitem__", "__setitem__"}
_ONE_BY_ONE = {"_foreach_norm"}  # take tensors of several devices and leave each result where its tensor is
_JOINS = {"cat", "stack", "concat"}  # refuse even numbers (0-dim tensors) of another device
_NO_TENSOR = {"numpy", "__array__", "__dlpack__"}


class OnCuda(Tensor):
    """A CPU tensor that says it is on the CUDA device."""

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


class _Mode(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _call(func, args, kwargs or {})


def moved(tensor: Tensor) -> Tensor:
    """Return a copy of a CPU tensor on the stand-in, or of one there on the CPU."""
    with torch._C.DisableTorchFunctionSubclass():
        copied = tensor.as_subclass(Tensor).clone()
        return copied if isinstance(tensor, OnCuda) else copied.as_subclass(OnCuda)


def _marked(value: Any) -> Any:
    if not isinstance(value, Tensor) or isinstance(value, OnCuda):
        return value
    return value.as_subclass(OnCuda)


def _call(func: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    name = getattr(func, "__name__", "")
    with torch._C.DisableTorchFunctionSubclass():
        if name == "__get__":
            return _attribute(func.__self__.__name__, func, args)  # type: ignore[attr-defined]
        if name in ("to", "cpu", "cuda"):
            return _to(name, args, kwargs)
        if name == "__deepcopy__":
            memo = args[1]
            if id(args[0]) not in memo:
                memo[id(args[0])] = _marked(args[0].detach().clone()).requires_grad_(args[0].requires_grad)
            return memo[id(args[0])]
        if name == "_has_compatible_shallow_copy_type":
            return isinstance(args[0], OnCuda) == isinstance(args[1], OnCuda)
        if name in _ONE_BY_ONE:
            found = zip(args[0], func(*args), strict=True)
            return [_marked(one) if isinstance(of, OnCuda) else one for of, one in found]
        leaves = tree_leaves((args, kwargs))
        there = any(isinstance(leaf, OnCuda) for leaf in leaves)
        if there:
            _refuse(name, args, leaves)
        if kwargs.get("device") is not None:
            there, kwargs = torch.device(kwargs["device"]).type == "cuda", {**kwargs, "device": "cpu"}
        if there and any(isinstance(leaf, torch.Generator) for leaf in leaves):
            raise RuntimeError(f"{name}: Expected a 'cuda' device type for generator but found 'cpu'")
        found = func(*args, **kwargs)
        return tree_map(_marked, found) if there else found


def _attribute(name: str, func: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    there = isinstance(args[0], OnCuda)
    if there and name in ("device", "is_cuda", "is_cpu"):
        return {"device": CUDA, "is_cuda": True, "is_cpu": False}[name]
    found = func(*args)
    return _marked(found) if there else found


def _refuse(name: str, args: tuple[Any, ...], leaves: list[Any]) -> None:
    """Raise where torch would."""
    if name in _NO_TENSOR:
        raise TypeError("can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu() first")
    if name in _COPIES:
        return
    if name in _INDEXES and isinstance(args[0], OnCuda):
        leaves = tree_leaves(args[2:])
    foreign = [leaf for leaf in leaves if isinstance(leaf, Tensor) and not isinstance(leaf, OnCuda)]
    if [tensor for tensor in foreign if tensor.dim() or name in _JOINS]:
        raise RuntimeError(f"{name}: Expected all tensors to be on the same device, but found cuda:0 and cpu")


def _to(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    tensor, *rest = args
    device = {"cpu": torch.device("cpu"), "cuda": CUDA}.get(name, kwargs.get("device"))
    kinds = [leaf for leaf in rest if not isinstance(leaf, torch.device | str)]
    for leaf in rest:
        device = torch.device(leaf) if isinstance(leaf, torch.device | str) else device
        if isinstance(leaf, Tensor):  # like another tensor
            device, kinds = CUDA if isinstance(leaf, OnCuda) else torch.device("cpu"), [leaf.dtype, *kinds[1:]]
    if name == "to":
        plain = {key: value for key, value in kwargs.items() if key not in ("device", "non_blocking")}
        kinds = [kind for kind in kinds if not isinstance(kind, bool)]
        converted = tensor.to(*kinds, **plain) if kinds or plain else tensor
        converted = _marked(converted) if isinstance(tensor, OnCuda) else converted
    else:
        converted = tensor
    elsewhere = device is not None and (torch.device(device).type == "cuda") != isinstance(tensor, OnCuda)
    if not elsewhere:
        return converted
    if isinstance(converted, OnCuda):
        if kwargs.get("non_blocking"):
            raise RuntimeError("to: a copy to the CPU that nobody waits for is read before it is there")
        return converted.as_subclass(Tensor).clone()
    return converted.clone().as_subclass(OnCuda)


class _Autocast(torch.autocast):
    """Autocast of the CPU under the name of the CUDA device."""

    def __init__(self, device_type: str, *args: Any, **kwargs: Any) -> None:
        super().__init__("cpu", *args, **kwargs)


@contextlib.contextmanager
def standing_in_for_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let ``torch.device("cuda", 0)`` be there for a while."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "default_generators", (torch.Generator(),))
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch, "autocast", _Autocast)
    before = torch.__future__.get_overwrite_module_params_on_conversion()
    torch.__future__.set_overwrite_module_params_on_conversion(True)
    try:
        with _Mode():
            yield
    finally:
        torch.__future__.set_overwrite_module_params_on_conversion(before)
