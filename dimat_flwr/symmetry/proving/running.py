"""Running a model, or its traced program, with a given state and without leaving traces."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from dimat_flwr.symmetry.rules import RULES
from dimat_flwr.symmetry.tracing.call import Call
from dimat_flwr.symmetry.tracing.program import Program, operator_name
from dimat_flwr.symmetry.tracing.untouched import in_mode, untouched

State = Mapping[str, Tensor]
_DOUBLE = {
    **dict.fromkeys((torch.float32, torch.float16, torch.bfloat16), torch.float64),
    **dict.fromkeys((torch.complex64, torch.complex32), torch.complex128),
}


class Runner:
    """Runs one model on one batch.

    Attributes:
        passes: how many forward passes there have been.
        double: run in float64 whatever the model casts to; else in the model's own precision.
    """

    def __init__(self, model: nn.Module, own: Call, call: Call, *, double: bool = True):
        self.passes = 0
        self.double = double
        self._buffers = {n for n, _ in model.named_buffers(remove_duplicate=False)}
        self._own = {n: t.dtype for n, t in (*model.named_parameters(), *model.named_buffers())}
        self._inputs = [x.dtype for x in own.tensors()]
        self._model = model
        self._call = call

    def model(self, state: State, *, train: bool = False, grad: bool = False) -> list[Tensor]:
        """Return the tensors the model puts out with a state; with ``train``, what drops units drops none."""
        return self._run(lambda s: functional_call(self._model, dict(s), *self._arguments()), state, train, grad)

    def program(
        self, program: Program, state: State, on_node: Callable[[fx.Node, Any], None] | None = None
    ) -> list[Tensor]:
        """Return the tensors that a traced program of the model puts out; ``on_node`` sees every value."""
        return self._run(lambda s: program.run(s, self._clean(self._call), on_node), state, False, False)

    def measure_statistics(self, state: State, batch: Call) -> None:
        """Set the running statistics of a state to those of a batch, which may be another than the runner's."""
        norms = [m for m in self._model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        if norms:
            with untouched(self._model):
                for norm in norms:
                    norm.momentum = 1.0
                used: dict[str, Tensor] = {}

                def forward(own: State) -> Any:
                    used.update(own)
                    return functional_call(self._model, dict(own), *self._arguments(batch))

                self._run(forward, state, True, False)
                for name, tensor in used.items():
                    if name.endswith(("running_mean", "running_var")):
                        state[name].copy_(tensor)

    def _given(self, name: str, tensor: Tensor) -> Tensor:
        """Return a tensor of the state as the model takes it; the forward pass may write into it."""
        if not self.double and tensor.is_floating_point():
            return tensor.to(self._own.get(name, tensor.dtype), copy=name in self._buffers)
        return tensor if tensor.requires_grad else tensor.clone()

    def _clean(self, call: Call) -> Call:
        if not self.double:
            dtypes = iter(self._inputs)
            return call.map(lambda x: x.to(next(dtypes), copy=True) if isinstance(x, Tensor) else x)
        return call.map(lambda x: x.clone() if isinstance(x, Tensor) else x)

    def _arguments(self, batch: Call | None = None) -> tuple[tuple[Any, ...], dict[str, Any]]:
        call = self._clean(self._call if batch is None else batch)
        return call.args, call.kwargs

    def _run(self, forward: Callable[[State], Any], state: State, train: bool, grad: bool) -> list[Tensor]:
        self.passes += 1
        given: dict[int, Tensor] = {}  # a tensor under two names stays one
        own = {n: given.setdefault(id(t), self._given(n, t)) for n, t in state.items()}
        with (
            untouched(self._model),
            in_mode(self._model, train=train),
            torch.set_grad_enabled(grad),
            _in_double() if self.double else contextlib.nullcontext(),
            _NoDropout() if train else contextlib.nullcontext(),
        ):
            torch.manual_seed(0)  # what is drawn in the forward pass is drawn alike each time
            output = forward(own)
        return [x for x in pytree.tree_leaves(output) if isinstance(x, Tensor)]


@contextlib.contextmanager
def _in_double() -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with _CastsToDouble():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch.set_default_dtype(default)


class _CastsToDouble(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Turns every cast to a shorter float into one to float64: rounding must not hide or pretend a change."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = {k: _DOUBLE.get(v, v) if isinstance(v, torch.dtype) else v for k, v in (kwargs or {}).items()}
        return func(*(_DOUBLE.get(x, x) if isinstance(x, torch.dtype) else x for x in args), **named)


class _NoDropout(TorchFunctionMode):
    """Turns dropout into the identity: a mask drawn in one order of the units means another in another order."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        rule = RULES.get(operator_name(func))
        if rule is not None and rule.kind == "pointwise" and rule.training is not None:
            return args[0] if args else (kwargs or {})["input"]
        return func(*args, **(kwargs or {}))
