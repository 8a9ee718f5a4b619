"""Choosing the taps: the places in the graph where each group's units are worth looking at."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import fx

from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.constraints.value import Value
from dimat_flwr.symmetry.solving.colours import Colours
from dimat_flwr.symmetry.solving.signature import slots_of
from dimat_flwr.symmetry.solving.solve import Draft
from dimat_flwr.symmetry.tap import Tap
from dimat_flwr.symmetry.tracing.program import Program, rule_of


def find_taps(
    program: Program, values: Mapping[str, Any], drafts: list[Draft], ledger: Ledger, colours: Colours
) -> list[list[Tap]]:
    """Return the taps of each draft, in the order of the forward pass.

    A tap stands where units are computed: after a layer that mixes its inputs, or after two streams are joined
    (every residual connection), moved behind the normalizations and activations that follow it one by one. A branch
    that is only added to a stream has no tap of its own: the sum has. So a convolution, its BatchNorm and its
    activation give one tap, after the activation, which is what the next layer reads.
    """
    finder = _Finder(program, values, drafts, ledger, colours)
    found: list[list[Tap]] = [[] for _ in drafts]
    seen: set[tuple[str, int]] = set()
    for node in program.graph.nodes:
        if finder.produces(node):
            place = finder.follow(node)
            if place is None:
                continue
            for i in finder.shown(place):
                if (place.name, i) not in seen:
                    seen.add((place.name, i))
                    found[i].append(finder.tap(place, i))
    for i, taps in enumerate(found):
        if not taps and not drafts[i].kind:
            last = [node for node in program.graph.nodes if i in finder.shown(node)][-1:]
            taps.extend(finder.tap(node, i) for node in last)
    order = {node.name: n for n, node in enumerate(program.graph.nodes)}
    for taps in found:
        taps.sort(key=lambda tap: order[tap.name])
    return found


class _Finder:
    def __init__(
        self, program: Program, values: Mapping[str, Any], drafts: list[Draft], ledger: Ledger, colours: Colours
    ):
        self._program = program
        self._ledger = ledger
        self._colours = colours
        self._drafts = drafts
        self._draft_of = np.full(ledger.atoms.count, -1, np.int64)
        for i, draft in enumerate(drafts):
            if not draft.kind:
                self._draft_of[draft.classes.reshape(-1)] = i
        self._values = {n: ledger.settle(v) for n, v in values.items() if isinstance(v, Value)}
        self._shown: dict[str, dict[int, Tap]] = {}

    def produces(self, node: fx.Node) -> bool:
        """Whether the node computes units anew: by mixing others, or by joining two streams of them."""
        return node.name in self._values and (self._kind(node) == "mixes" or self._joins(node))

    def follow(self, node: fx.Node) -> fx.Node | None:
        """Return the last node of the chain of layers behind ``node``; ``None`` if it only feeds a sum."""
        while len(node.users) == 1:
            (user,) = node.users
            if self._joins(user) and self.shown(node).keys() <= self.shown(user).keys():
                return None
            if not self._passes(user) or self.shown(node).keys() != self.shown(user).keys():
                break
            node = user
        return node

    def shown(self, node: fx.Node) -> dict[int, Tap]:
        """Return draft -> tap for the groups all of whose units are visible in a node's value."""
        if node.name not in self._shown:
            value = self._values.get(node.name)
            self._shown[node.name] = {} if value is None else self._look(node.name, value)
        return self._shown[node.name]

    def tap(self, node: fx.Node, draft: int) -> Tap:
        """Return the tap of a shown group."""
        return self.shown(node)[draft]

    def _kind(self, node: fx.Node) -> str:
        rule = rule_of(node, self._program.modules)
        return "" if rule is None else rule.kind

    def _is_pointwise(self, node: fx.Node) -> bool:
        return self._kind(node) in ("pointwise", "same")

    def _passes(self, node: fx.Node) -> bool:
        return self._is_pointwise(node) or self._kind(node) == "normalizes"

    def _joins(self, node: fx.Node) -> bool:
        moving = [n for n in node.all_input_nodes if n.name in self._values and self.shown(n)]
        return self._is_pointwise(node) and len(moving) > 1

    def _look(self, name: str, value: Value) -> dict[int, Tap]:
        if not value.varying or 0 in value.varying:
            return {}
        dims = tuple(sorted(value.varying))
        classes = self._ledger.atoms.find(value.atoms).reshape(-1)
        present = np.unique(self._draft_of[classes])
        present = present[present >= 0]
        if not len(present):
            return {}
        others = frozenset(range(len(value.shape))) - value.varying
        roles = self._ledger.collapse_roles(value.roles, others)
        roles = np.broadcast_to(roles, value.atoms.shape).reshape(-1)
        distinct, start, counts, order = slots_of(classes, roles, self._colours.of[value.atoms.reshape(-1)])
        taps = {}
        for i in present.tolist():
            units = self._drafts[i].classes
            index = np.searchsorted(distinct, units).clip(max=len(distinct) - 1)
            if (distinct[index] != units).any() or len(np.unique(counts[index])) > 1:
                continue
            slots = np.arange(int(counts[index].flat[0])).reshape(-1, *[1] * index.ndim)
            positions = order[start[index][None] + slots]
            whole = len(slots) == 1 and np.array_equal(positions.reshape(-1), np.arange(len(classes)))
            taps[i] = Tap(name, self._drafts[i].name, dims, torch.from_numpy(positions), whole)
        return taps
