"""A graph of torch.export as a flat list of operators: regions written out, checks left away."""

from typing import Any

from torch import fx
from torch._ops import HigherOrderOperator

from dimat_flwr.symmetry.rules import RULES
from dimat_flwr.symmetry.tracing.program import operator_name

_REGIONS = ("higher_order::wrap_with_set_grad_enabled", "higher_order::wrap_with_autocast")


def flattened(module: fx.GraphModule) -> fx.Graph:
    """Return a copy of a graph without regions (of no_grad, of autocast) and without checks of shapes and types."""
    graph = fx.Graph()
    copied: dict[fx.Node, Any] = {}
    result = _copy(module, graph, copied)
    graph.output(result)
    return graph


def _copy(module: fx.GraphModule, graph: fx.Graph, copied: dict[fx.Node, Any]) -> Any:
    """Copy a graph's nodes, whose placeholders are in ``copied`` unless they are the network's; return its output."""
    for node in module.graph.nodes:
        if node.op == "output":
            return fx.node.map_arg(node.args[0], copied.__getitem__)
        if node in copied:
            continue
        name = operator_name(node.target) if node.op == "call_function" else ""
        if isinstance(node.target, HigherOrderOperator) and name in _REGIONS:
            copied[node] = _copy_region(module, node, graph, copied)
        elif name == "getitem" and isinstance(copied[node.args[0]], tuple | list):
            copied[node] = copied[node.args[0]][node.args[1]]
        elif node.op == "get_attr" and isinstance(getattr(module, str(node.target), None), fx.GraphModule):
            copied[node] = None  # the body of a region
        elif name not in RULES or RULES[name].kind != "checks":
            copied[node] = graph.node_copy(node, copied.__getitem__)
    raise ValueError("the exported graph has no output")


def _copy_region(module: fx.GraphModule, node: fx.Node, graph: fx.Graph, copied: dict[fx.Node, Any]) -> Any:
    place = next(i for i, x in enumerate(node.args) if isinstance(x, fx.Node) and x.op == "get_attr")
    body: fx.GraphModule = getattr(module, str(node.args[place].target))  # type: ignore[union-attr]
    inputs = [n for n in body.graph.nodes if n.op == "placeholder"]
    inside = {
        p: copied[x] if isinstance(x, fx.Node) else x for p, x in zip(inputs, node.args[place + 1 :], strict=True)
    }
    return _copy(body, graph, inside)
