"""Turning a network into a ``Program``: by torch.fx where the forward pass allows it, else by torch.export."""

import copy
import inspect
import linecache
import math
import os
import traceback
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export import Dim, ExportedProgram, export
from torch.export.graph_signature import InputKind

from dimat_flwr.symmetry.errors import TraceError
from dimat_flwr.symmetry.tracing.attention_module import can_expand, expand
from dimat_flwr.symmetry.tracing.call import Call, Example, at_least_two
from dimat_flwr.symmetry.tracing.inline import flattened
from dimat_flwr.symmetry.tracing.modules import is_leaf
from dimat_flwr.symmetry.tracing.program import Program, operator_name, rule_of, written_by
from dimat_flwr.symmetry.tracing.untouched import in_mode, untouched

_HERE = os.path.dirname(__file__)


class _Tracer(fx.Tracer):
    """Keeps the layers that have a rule whole, and writes attention out so that its heads can be seen."""

    proxy_buffer_attributes = True  # a buffer is part of the graph, not a value fixed at tracing

    def __init__(self) -> None:
        super().__init__(autowrap_modules=(math,))

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return is_leaf(m)

    def call_module(self, m: nn.Module, forward: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if isinstance(m, nn.MultiheadAttention) and can_expand(m, args, kwargs):
            path = self.path_of_module(m)
            return expand(m, lambda name: self.create_proxy("get_attr", f"{path}.{name}", (), {}), *args, **kwargs)
        return super().call_module(m, forward, args, kwargs)


def trace_symbolically(model: nn.Module, call: Call) -> Program:
    """Trace with torch.fx: independent of the sizes, in milliseconds; refuses control flow over tensors."""
    hooked = [name for name, m in model.named_modules() if m._forward_pre_hooks or m._forward_hooks]
    if hooked:  # what a hook does to a layer kept whole would not be seen
        raise TraceError(f"modules {hooked[:5]} have forward hooks")
    if "forward" in vars(model) or type(model).__call__ is not nn.Module.__call__:
        raise TraceError("the network is not called through its class's forward")
    names = _names_of_leaves(model, call)
    given = dict(zip(names, call.leaves(), strict=True))
    parameters = inspect.signature(model.forward).parameters.values()
    rest = {p.name: given.get(p.name, p.default) for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    fixed = {name: value for name, value in rest.items() if not isinstance(value, Tensor)}
    graph = _Tracer().trace(model, concrete_args=fixed or None)
    fed = {str(n.target): n.name for n in graph.nodes if n.op == "placeholder" and n.target in given}
    for node in [n for n in graph.nodes if n.op == "placeholder" and n.name not in fed.values()]:
        _erase(graph, node)
    tensors, constants = _read_attributes(model, graph)
    called = {str(n.target) for n in graph.nodes if n.op == "call_module"}
    skeleton = _without_weights(model)
    modules = {target: skeleton.get_submodule(target) for target in called}
    program = Program(graph, tuple(fed.get(name) for name in names), call, tensors, constants, modules)
    if mutates_views(program):
        raise TraceError("the forward pass writes into parts of tensors")
    return program


def _names_of_leaves(model: nn.Module, call: Call) -> list[str]:
    """Return the name of the parameter of ``forward`` that each leaf of a call is given to."""
    bound = inspect.signature(model.forward).bind(*call.args, **call.kwargs)
    names = [*list(bound.arguments)[: len(call.args)], *call.kwargs]
    if len(names) != len(call.leaves()) or not set(names) <= set(bound.arguments):
        raise TraceError("inputs inside of containers, or beyond the named parameters of forward")
    return names


def _erase(graph: fx.Graph, node: fx.Node) -> None:
    """Remove an input that the program text holds, and the checks that it is still what it was."""
    for user in list(node.users):
        if operator_name(user.target) not in ("eq", "_assert", "torch.fx._symbolic_trace._assert_is_none"):
            raise TraceError(f"the forward pass uses '{node.target}', which the example does not give")
        _erase(graph, user)
    graph.erase_node(node)


def _read_attributes(model: nn.Module, graph: fx.Graph) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Return node -> name in the state dict, and node -> constant, of the tensors that a graph reads."""
    saved = model.state_dict()
    tensors, constants = {}, {}
    for node in graph.nodes:
        if node.op == "get_attr":
            if str(node.target) in saved:
                tensors[node.name] = str(node.target)
            else:
                constants[node.name] = _attribute(model, str(node.target)).detach().clone()
    return tensors, constants


def trace_by_export(model: nn.Module, call: Call) -> Program:
    """Trace with torch.export: slower, but through any Python that does not depend on the values of tensors."""
    call = at_least_two(call)
    samples = call.samples

    def batch(x: Any) -> Any:
        return {0: Dim.AUTO} if isinstance(x, Tensor) and x.ndim and x.shape[0] == samples else None

    given = inspect.signature(model.forward).bind(*call.args, **call.kwargs).arguments
    dynamic = Call((), dict(given)).map(batch).kwargs
    with torch.enable_grad():  # without gradients nn.Transformer takes a fused path that hides its operators
        exported = export(model, call.args, call.kwargs, dynamic_shapes=dynamic, strict=False)
        program = _from_export(exported, call)
        # Writes into parts of tensors are only understood once they are rewritten as operators that return new ones.
        if mutates_views(program):
            program = _from_export(exported.run_decompositions({}), call)
    if mutates_views(program):
        raise TraceError("the forward pass writes into tensors that it reads under other names: return new ones")
    return program


def retrace(model: nn.Module, example: Example, tracer: str) -> Program:
    """Return the program of a network that is known to be traced in one way, ``symbolic`` or ``export``."""
    trace = {"symbolic": trace_symbolically, "export": trace_by_export}[tracer]
    with untouched(model), in_mode(model, train=False):
        return trace(model, Call.to(model, example))


def _from_export(exported: ExportedProgram, call: Call) -> Program:
    signature = exported.graph_signature
    if signature.buffers_to_mutate or signature.user_inputs_to_mutate:
        changed = [*signature.buffers_to_mutate.values(), *signature.user_inputs_to_mutate.values()]
        raise TraceError(f"the forward pass changes {changed} in place: make it return new tensors instead")
    states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    lasting = {n: s for n, s in states.items() if s not in signature.non_persistent_buffers}
    constants = {n: exported.constants[s].detach().clone() for n, s in states.items() if n not in lasting}
    for name, target in signature.inputs_to_lifted_tensor_constants.items():
        constants[name] = exported.constants[target].detach().clone()
    graph = flattened(exported.graph_module)
    fed = tuple(spec.arg.name for spec in signature.input_specs if spec.kind is InputKind.USER_INPUT)
    return Program(graph, fed, call, lasting, constants, {}, exported.call_spec.out_spec)


def _attribute(model: nn.Module, path: str) -> Tensor:
    owner, _, name = path.rpartition(".")
    found = getattr(model.get_submodule(owner), name)
    if not isinstance(found, Tensor):
        raise TraceError(f"the forward pass reads '{path}', which is no tensor")
    return found


def _without_weights(model: nn.Module) -> nn.Module:
    """Return a copy of the model whose parameters take no memory."""
    memo: dict[int, Any] = {
        id(p): nn.Parameter(torch.empty_like(p, device="meta"), requires_grad=False) for p in model.parameters()
    }
    return copy.deepcopy(model, memo)


def mutates_views(program: Program) -> bool:
    """Whether an operator writes into memory that is later read under another name than the one it wrote to.

    Only torch.export can rewrite such a network without writes.
    """
    nodes = list(program.graph.nodes)
    order = {node: n for n, node in enumerate(nodes)}
    base: dict[fx.Node, fx.Node] = {}  # node -> the node that made the memory it may share
    sharing: dict[fx.Node, list[fx.Node]] = {}
    for n, node in enumerate(nodes):
        written = written_by(node)
        if node.op == "call_module" and getattr(program.modules[str(node.target)], "inplace", False):
            written = node.all_input_nodes[:1]
        if operator_name(node.target) == "setitem" or "out" in node.kwargs:
            return True
        for target in written:
            others = [m for m in sharing[base[target]] if m is not target]
            if any(order[user] > n for m in others for user in m.users):
                return True
        source = next(iter(written or (node.all_input_nodes if _may_alias(node, program) else ())), None)
        base[node] = node if source is None else base[source]
        sharing.setdefault(base[node], []).append(node)
    return False


def _may_alias(node: fx.Node, program: Program) -> bool:
    """Whether a node's value may share memory with its first operand; an unknown operator's may."""
    if node.op not in ("call_function", "call_method", "call_module"):
        return False
    rule = rule_of(node, program.modules)
    return rule is None or rule.aliases


def where(error: BaseException) -> str:
    """Return the innermost line outside torch that an error passed through."""
    # Not extract_tb: code that torch 2.6 has rewritten to trace it has no columns, and may have no lines.
    walked = ((frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__))
    outside = [(file, line) for file, line in walked if line and "/torch/" not in file and not file.startswith(_HERE)]
    if not outside:
        return ""
    file, line = outside[-1]
    return f"at {file}:{line} ({linecache.getline(file, line).strip()})"
