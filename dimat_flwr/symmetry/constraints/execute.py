"""Symbolic execution of a program: every operator's rule writes into the ledger what moves together."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx

from dimat_flwr.symmetry.constraints.atoms import UNIFORM
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.param import Param, is_symbolic
from dimat_flwr.symmetry.constraints.value import Const, Shape, Value
from dimat_flwr.symmetry.rules import RULES, Context, UnsupportedError
from dimat_flwr.symmetry.tracing.modules import layer_of
from dimat_flwr.symmetry.tracing.program import Program, operator_name, written_by
from dimat_flwr.symmetry.tracing.shapes import Shapes, Sizes

_SHAPE_ONLY = ("size", "sym_size", "dim", "ndimension", "numel", "sym_numel", "getattr", "is_floating_point", "len")


@dataclass(frozen=True, eq=False)
class _Buffer:
    """A buffer of the network: a constant, except to the operators whose state it is."""

    name: str
    tensor: Tensor


class Execution:
    """One pass over a program's nodes.

    Attributes:
        values: node -> what is known of its value.
    """

    def __init__(
        self,
        program: Program,
        shapes: Shapes,
        state: Mapping[str, Tensor],
        parameters: frozenset[str],
        aliases: Mapping[str, str],
        ledger: Ledger,
    ):
        self.values: dict[str, Any] = {}
        self._program = program
        self._sizes, self._dtypes = shapes.sizes, shapes.dtypes
        self._state = state
        self._parameters = parameters
        self._aliases = aliases
        self._ledger = ledger

    def run(self) -> None:
        """Execute all nodes; what the network returns is kept in place."""
        for node in self._program.graph.nodes:
            self._ledger.operator = node.name
            if node.op == "output":
                self._keep_in_place(fx.node.map_arg(node.args, lambda n: self.values[n.name]))
            else:
                self.values[node.name] = self._evaluate(node)
                for written in written_by(node):  # later readers see the result
                    self.values[written.name] = self.values[node.name]

    def _evaluate(self, node: fx.Node) -> Any:
        program = self._program
        if node.name in program.tensors:
            return self._tensor(program.tensors[node.name])
        if node.name in program.constants:
            return Const(program.constants[node.name].detach().cpu(), exact=True)
        if node.op == "placeholder":
            shape = self._sizes[node.name]
            return None if shape is None else self._ledger.neutral(shape)
        args = list(fx.node.map_arg(node.args, lambda n: self.values[n.name]))
        kwargs = dict(fx.node.map_arg(node.kwargs, lambda n: self.values[n.name]))
        if node.op == "call_module":
            module = program.modules[str(node.target)]
            self._ledger.operator = f"{type(module).__name__} {node.target}"
            name, stated, kwargs = self._state_module(str(node.target), args)
            return self._apply(node, name, stated, kwargs)
        if isinstance(node.target, type) and issubclass(node.target, tuple):
            return tuple(args)
        name = operator_name(node.target)
        self._ledger.operator = f"{name} {node.name}"
        if name == "getattr" and args[1] in ("T", "mT"):
            return self._apply(node, "t", args[:1], {})
        if name in _SHAPE_ONLY and args and isinstance(args[0], Value | Param | Const | _Buffer):
            return self._ask_shape(node, name, args, kwargs)
        if not is_symbolic(args) and not is_symbolic(kwargs):
            return self._fold(node, name, args, kwargs)
        return self._apply(node, name, args, kwargs)

    def _tensor(self, name: str) -> Any:
        name = self._aliases.get(name, name)
        tensor = self._state[name]
        if name in self._parameters:
            return Param.whole(name, tuple(tensor.shape))
        return _Buffer(name, tensor.detach().cpu().clone())  # what is folded may write into it

    def _state_module(self, target: str, args: list[Any]) -> tuple[str, tuple[Any, ...], dict[str, Any]]:
        module = self._program.modules[target]
        layer = layer_of(module)
        if layer is None:
            return f"module {type(module).__name__}", tuple(args), {}
        held = {n for n, _ in (*module.named_parameters(), *module.named_buffers())}
        stated = layer.arguments(module, lambda n: self._tensor(f"{target}.{n}") if n in held else None, tuple(args))
        return layer.operator, *stated

    def _apply(self, node: fx.Node, name: str, args: Any, kwargs: dict[str, Any]) -> Any:
        """Let the operator's rule write into the ledger; what has no rule keeps its operands in place."""
        rule = RULES.get(name)
        with_state = rule is not None and rule.state
        args = [self._operand(x, with_state) for x in args]
        kwargs = {k: self._operand(x, with_state) for k, x in kwargs.items() if k != "memory_format"}
        if "input" in kwargs:
            args.insert(0, kwargs.pop("input"))
        sizes = self._sizes[node.name]
        single = sizes if isinstance(sizes, tuple) else ()
        context = Context(self._ledger, single, sizes, self._dtypes.get(node.name))
        why = f"operator '{name}' ({node.name}) has no rule"
        if rule is not None:
            try:
                rule.signature.bind(context, *args, **kwargs)
                result = rule.function(context, *args, **kwargs)
                if context.unstated([args, kwargs]):
                    why = f"operator '{name}' ({node.name}) has a rule that does not speak of all its operands"
                elif _fits(result, sizes):
                    return result
                else:
                    why = f"operator '{name}' ({node.name}) has a shape its rule does not expect"
            except (
                UnsupportedError,
                TypeError,
                ValueError,
                IndexError,
                KeyError,
                AttributeError,
                StopIteration,
            ) as error:
                why = f"operator '{name}' ({node.name}) is not covered here: {error}"
        self._keep_in_place([args, kwargs], why)
        return _neutral(sizes, self._ledger)

    def _operand(self, x: Any, with_state: bool) -> Any:
        if isinstance(x, _Buffer):
            return Param.whole(x.name, tuple(x.tensor.shape)) if with_state else Const(x.tensor, exact=False)
        if isinstance(x, list | tuple):
            return type(x)(self._operand(item, with_state) for item in x)
        return x

    def _keep_in_place(self, x: Any, why: str = "") -> None:
        """Keep what an operator reads as it is; warn if that takes something that could have moved."""
        moving = [v for v in _leaves(x) if isinstance(v, Param) or (isinstance(v, Value) and self._moves(v))]
        if why and moving:
            self._ledger.warn(f"{why}; the units it reads are kept in place")
        for leaf in moving:
            if isinstance(leaf, Param):
                self._ledger.freeze(leaf.name)
            else:
                self._ledger.fix(leaf.atoms)

    def _moves(self, value: Value) -> bool:
        return bool((self._ledger.atoms.find(value.atoms) > UNIFORM).any())

    def _ask_shape(self, node: fx.Node, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        x = args[0]
        shape = torch.Size(x.tensor.shape if isinstance(x, Const | _Buffer) else x.shape)
        if name in ("size", "sym_size"):
            dim = args[1] if len(args) > 1 else kwargs.get("dim")
            return shape if dim is None else shape[dim]
        if name in ("dim", "ndimension"):
            return len(shape)
        if name in ("numel", "sym_numel"):
            return shape.numel()
        if name == "len":
            return shape[0]
        if name == "is_floating_point":
            return True
        answers = {"shape": shape, "ndim": len(shape), "device": torch.device("cpu"), "dtype": torch.float32}
        if args[1] in answers:
            return answers[args[1]]
        return self._apply(node, f"attribute {args[1]}", args[:1], {})

    def _fold(self, node: fx.Node, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Compute what depends on no input and no parameter."""
        rule = RULES.get(name)
        exact = rule is None or not rule.random

        def unwrap(x: Any) -> Any:
            nonlocal exact
            if isinstance(x, Const | _Buffer):
                exact = exact and isinstance(x, Const) and x.exact
                return x.tensor
            if isinstance(x, list | tuple) and not isinstance(x, torch.Size):
                return type(x)(unwrap(item) for item in x)
            if isinstance(x, slice):
                return slice(unwrap(x.start), unwrap(x.stop), unwrap(x.step))
            return torch.device("cpu") if isinstance(x, torch.device) else x

        real = [unwrap(x) for x in args]
        named = {k: unwrap(x) for k, x in kwargs.items()}
        with torch.no_grad():
            if node.op == "call_method":
                result = getattr(real[0], str(node.target))(*real[1:], **named)
            else:
                result = node.target(*real, **named)  # type: ignore[operator]
        return _wrap(result, exact)


def _leaves(x: Any) -> list[Any]:
    if isinstance(x, dict):
        return _leaves(list(x.values()))
    return [leaf for item in x for leaf in _leaves(item)] if isinstance(x, list | tuple) else [x]


def _wrap(x: Any, exact: bool) -> Any:
    if isinstance(x, Tensor):
        return Const(x, exact)
    if isinstance(x, list | tuple) and not isinstance(x, torch.Size):
        return type(x)(_wrap(item, exact) for item in x)
    return x


def _fits(result: Any, sizes: Sizes) -> bool:
    if isinstance(sizes, list):
        return isinstance(result, list | tuple) and all(map(_fits, result, sizes)) and len(result) == len(sizes)
    if isinstance(result, Const):
        return bool(result.shape == sizes)
    return sizes is None or (isinstance(result, Value | Param) and _consistent(result, sizes))


def _consistent(result: Value | Param, shape: Shape) -> bool:
    if isinstance(result, Param):
        return result.shape == shape
    sized = result.shape == shape and len(result.spread) == len(shape)
    return sized and all(
        a.ndim == len(shape) and all(s in (1, n) for s, n in zip(a.shape, shape, strict=True))
        for a in (result.atoms, result.roles)
    )


def _neutral(sizes: Sizes, ledger: Ledger) -> Any:
    if isinstance(sizes, list):
        return tuple(_neutral(item, ledger) for item in sizes)
    return None if sizes is None else ledger.neutral(sizes)
