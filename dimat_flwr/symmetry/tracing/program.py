"""A traced forward pass in one form, whichever tracer made it, and running it with given weights."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.utils import _pytree as pytree

from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.rules import RULES, Rule
from dimat_flwr.symmetry.tracing.call import Call
from dimat_flwr.symmetry.tracing.modules import layer_of


@dataclass(frozen=True, eq=False)
class Program:
    """A graph of operators.

    Attributes:
        graph: its nodes; placeholders are inputs, or tensors of the state dict.
        inputs: names of the placeholder nodes that take the leaves of a call, in order; ``None`` for leaves that are
            part of the program text.
        call: a call of the network, for the order of its leaves.
        tensors: node -> name in the state dict, for nodes that read a parameter or buffer.
        constants: node -> tensor that the program text holds.
        modules: target -> module of the ``call_module`` nodes, on the meta device where parameters are concerned.
        output_tree: how a flat list of outputs is put together; ``None`` if the output node has it right.
    """

    graph: fx.Graph
    inputs: tuple[str | None, ...]
    call: Call
    tensors: Mapping[str, str]
    constants: Mapping[str, Tensor]
    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    output_tree: pytree.TreeSpec | None = None

    @property
    def tracer(self) -> str:
        """How it was made: ``symbolic`` by torch.fx, ``export`` by torch.export."""
        return "symbolic" if self.output_tree is None else "export"

    def run(
        self,
        state: Mapping[str, Tensor],
        call: Call,
        on_node: Callable[[fx.Node, Any], None] | None = None,
        *,
        train: bool = False,
    ) -> Any:
        """Execute the graph once; ``on_node`` sees every node's value as soon as it is computed.

        Raises:
            SymmetryError: an input or tensor is missing, or an operator failed (the message names its line).
        """
        leaves = call.leaves(self.call)
        fed = {name: leaf for name, leaf in zip(self.inputs, leaves, strict=True) if name is not None}
        device = next((x.device for x in leaves if isinstance(x, Tensor)), torch.device("cpu"))
        env: dict[str, Any] = {}
        for node in self.graph.nodes:
            if node.op == "output":
                flat = fx.node.map_arg(node.args[0], lambda n: env[n.name])
                return flat if self.output_tree is None else pytree.tree_unflatten(list(flat), self.output_tree)
            if node.name in fed:
                value = fed[node.name]
            elif node.name in self.tensors:
                value = _tensor(state, self.tensors[node.name])
            elif node.name in self.constants:
                value = self.constants[node.name].to(device)
            else:
                value = self._call(node, state, env, train, device)
            env[node.name] = value
            if on_node is not None:
                on_node(node, value)
            for name in self._last_reads.get(node.name, ()):
                del env[name]
        raise SymmetryError("the traced graph has no output")

    @cached_property
    def _held(self) -> dict[str, list[tuple[str, str]]]:
        """Layer -> (name in the layer, name in the state dict) of its tensors."""
        held = {}
        for target, module in self.modules.items():
            saved = module.state_dict(keep_vars=True)
            held[target] = [(own, f"{target}.{own}") for own in saved]
        return held

    @cached_property
    def _last_reads(self) -> dict[str, list[str]]:
        """Node -> nodes whose value nobody needs after it."""
        last: dict[str, str] = {}
        for node in self.graph.nodes:
            last[node.name] = node.name
            for read in node.all_input_nodes:
                last[read.name] = node.name
        result: dict[str, list[str]] = {}
        for name, reader in last.items():
            result.setdefault(reader, []).append(name)
        return result

    def _call(
        self, node: fx.Node, state: Mapping[str, Tensor], env: Mapping[str, Any], train: bool, device: torch.device
    ) -> Any:
        args = fx.node.map_arg(node.args, lambda n: env[n.name])
        kwargs = fx.node.map_arg(node.kwargs, lambda n: env[n.name])
        try:
            if node.op == "call_module":
                target = str(node.target)
                module = self.modules[target]
                module.train(train)
                local = {own: _tensor(state, name) for own, name in self._held[target]}
                return torch.func.functional_call(module, local, tuple(args), dict(kwargs))
            if node.op == "call_method":
                receiver, *rest = args
                return getattr(receiver, str(node.target))(*rest, **kwargs)
            positional, keyword = _in_mode(node, list(args), dict(kwargs), train)
            if isinstance(keyword.get("device"), torch.device):  # written down where the network was traced
                keyword["device"] = device
            if train and node.target is torch.ops.aten._native_batch_norm_legit_no_training.default:
                return torch.ops.aten._native_batch_norm_legit.default(*positional[:5], True, *positional[5:])
            return node.target(*positional, **keyword)  # type: ignore[operator]
        except SymmetryError:
            raise
        except Exception as error:
            where = (node.stack_trace or "").strip().splitlines()[-2:]
            text = f"{type(error).__name__}: {error}"
            raise SymmetryError(f"operator '{node.name}' of the traced network failed: {text} {where}") from error


def _tensor(state: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in state:
        raise SymmetryError(f"the state dict lacks '{name}', which the network reads")
    return state[name]


_TORCHS_OWN = ("torch.", "torchvision.ops.", "_operator.", "builtins.", "math.")


def operator_name(target: Any) -> str:
    """Return an operator's name: plain and the same for torch functions, methods and aten operators.

    What is not torch's own keeps its origin, ``library::name`` or ``module.name``, whatever it is called.
    """
    if isinstance(target, torch._ops.OpOverload | torch._ops.OpOverloadPacket):
        packet = target.overloadpacket if isinstance(target, torch._ops.OpOverload) else target
        library, _, name = packet._qualified_op_name.partition("::")
        if library not in ("aten", "prims"):
            return f"{library}::{name}"
    elif isinstance(target, torch._ops.HigherOrderOperator):
        return f"higher_order::{target.__name__}"
    elif isinstance(target, str):
        name = target
    else:
        name = str(getattr(target, "__name__", ""))
        home = str(getattr(target, "__module__", None) or type(target).__module__)
        if not name or not f"{home}.".startswith(_TORCHS_OWN):
            return f"{home}.{name or type(target).__qualname__}"
    return name if name.startswith("__") else name.rstrip("_") or name


def rule_of(node: fx.Node, modules: Mapping[str, nn.Module]) -> Rule | None:
    """Return the rule that serves a node, whether it calls a function, a method or a layer."""
    if node.op == "call_module":
        layer = layer_of(modules[str(node.target)])
        return None if layer is None else RULES.get(layer.operator)
    return RULES.get(operator_name(node.target)) if node.op in ("call_function", "call_method") else None


def written_by(node: fx.Node) -> list[fx.Node]:
    """Return the operands that a function or method writes its result into."""
    out = node.kwargs.get("out")
    if isinstance(out, fx.Node):
        return [out]
    first = node.args[0] if node.args else None
    return [first] if isinstance(first, fx.Node) and _writes_in_place(node) else []


def _writes_in_place(node: fx.Node) -> bool:
    if node.op not in ("call_function", "call_method"):
        return False
    target = node.target.overloadpacket if isinstance(node.target, torch._ops.OpOverload) else node.target
    name = target if isinstance(target, str) else getattr(target, "__name__", "")
    if name in ("iadd", "isub", "imul", "itruediv", "setitem") or node.kwargs.get("inplace", False):
        return True
    return name.endswith("_") and not name.startswith("_")


def _in_mode(node: fx.Node, args: list[Any], kwargs: dict[str, Any], train: bool) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments with the flags that depend on the mode set to the mode asked for."""
    name = operator_name(node.target)
    rule = RULES.get(name)
    if name == "instance_norm" and not train:  # its flag says whether to use the input's statistics, in any mode
        return args, kwargs
    if rule is not None and rule.training is not None:
        if len(args) > rule.training:
            args[rule.training] = train
        else:
            exported = isinstance(node.target, torch._ops.OpOverload)
            kwargs["use_input_stats" if name == "instance_norm" else "train" if exported else "training"] = train
    elif name == "scaled_dot_product_attention" and not train:
        if len(args) > 4:
            args[4] = 0.0
        kwargs = {k: (0.0 if k == "dropout_p" else v) for k, v in kwargs.items()}
    return args, kwargs
