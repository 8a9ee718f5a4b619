"""Finding the permutation symmetries of a network by tracing it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from dimat_flwr.symmetry.constraints.execute import Execution
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.errors import SymmetryError, TraceError
from dimat_flwr.symmetry.group import Group
from dimat_flwr.symmetry.solving.solve import Draft, solve
from dimat_flwr.symmetry.solving.visibility import find_taps
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tracing.call import Call, Example, at_least_two
from dimat_flwr.symmetry.tracing.program import Program
from dimat_flwr.symmetry.tracing.shapes import propagate_shapes
from dimat_flwr.symmetry.tracing.trace import trace_by_export, trace_symbolically, where
from dimat_flwr.symmetry.tracing.traced import TracedModel
from dimat_flwr.symmetry.tracing.untouched import in_mode, untouched


def find_permutation_spec(model: nn.Module, example_input: Example) -> PermutationSpec:
    """Find which axes of a network's tensors share a permutation.

    The forward pass is traced (torch.fx, or torch.export where Python control flow needs it) and executed
    symbolically: every operator says which places of its operands, its result and its weights must move together.
    What an operator without a rule reads is kept in place, with a warning. The idea of groups of tied axes is that of
    Git Re-Basin (Ainsworth et al., ICLR 2023, section 3.2), found here instead of written by hand.

    Args:
        model: any network; left as it was, in its own mode.
        example_input: what the network takes, on the model's device; a tuple for several inputs, a mapping for
            named ones. Dim 0 is the batch.

    Returns:
        The specification; the same for the same network, whatever its weights.

    Raises:
        TraceError: the forward pass could not be traced; the message names the line.
    """
    call = Call.of(example_input)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    network = _Network(state, _aliases(model), frozenset(dict(model.named_parameters())))
    best: _Reading | None = None
    failures: list[str] = []
    for tracer in (trace_symbolically, trace_by_export):
        try:
            with untouched(model), in_mode(model, train=False):
                program = tracer(model, call)
            reading = _read(program, network, at_least_two(call))
        except Exception as error:  # noqa: BLE001  # tracing runs the user's code: whatever it raises is reported
            failures.append(f"{tracer.__name__}: {type(error).__name__}: {error} {where(error)}")
            continue
        if best is None or len(reading.ledger.warnings) < len(best.ledger.warnings):
            best = reading
        if not best.ledger.warnings:
            break
    if best is None:
        raise TraceError(
            f"the network cannot be traced with this example. {'. '.join(failures)}. Check that the example is what "
            "the network takes. Where its forward pass branches on the values of tensors, use torch.where instead of "
            "if, or move that part out of the model"
        )
    training_only = _read_training_only(model, call, network, best)
    return _specification(best, network, training_only)


@dataclass(frozen=True, eq=False)
class _Network:
    state: Mapping[str, Tensor]
    aliases: Mapping[str, str]
    parameters: frozenset[str]

    def ledger(self) -> Ledger:
        return Ledger({name: tuple(tensor.shape) for name, tensor in self.state.items()})


@dataclass(frozen=True, eq=False)
class _Reading:
    program: Program
    ledger: Ledger
    values: Mapping[str, Any]


def _aliases(model: nn.Module) -> dict[str, str]:
    """Return name -> first name of the same tensor, for tensors with several names."""
    first: dict[int, str] = {}
    aliases = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        known = first.setdefault(id(tensor), name)
        if known != name:
            aliases[name] = known
    return aliases


def _read(program: Program, network: _Network, call: Call, ledger: Ledger | None = None) -> _Reading:
    ledger = network.ledger() if ledger is None else ledger
    shapes = propagate_shapes(program, network.state, call)
    execution = Execution(program, shapes, network.state, network.parameters, network.aliases, ledger)
    execution.run()
    return _Reading(program, ledger, execution.values)


def _read_training_only(model: nn.Module, call: Call, network: _Network, reading: _Reading) -> tuple[str, ...]:
    """Take in what only runs in training, such as auxiliary classifiers: it reads the same units."""
    unused = sorted(network.parameters - reading.ledger.used - network.aliases.keys())
    if not unused:
        return ()
    try:
        with untouched(model), in_mode(model, train=True):
            program = trace_symbolically(model, call)
        _read(program, network, at_least_two(call), reading.ledger)
    except Exception as error:  # noqa: BLE001  # as above
        reading.ledger.warn(f"train mode could not be traced ({type(error).__name__}: {error}) {where(error)}")
    still = sorted(set(unused) - reading.ledger.used)
    if still:
        reading.ledger.warn(f"the forward pass never reads {still[:5]} ({len(still)} parameters); they are left as is")
    return tuple(name for name in unused if name not in still)


def _specification(reading: _Reading, network: _Network, training_only: tuple[str, ...]) -> PermutationSpec:
    drafts, colours = solve(reading.ledger)
    taps = find_taps(reading.program, reading.values, drafts, reading.ledger, colours)
    groups = {}
    for draft, seen in zip(drafts, taps, strict=True):
        shape = draft.classes.shape
        parent = None if draft.parent is None else draft.parent.name
        blocks = None if parent is None else shape[0]
        groups[draft.name] = Group(draft.name, shape[-1], blocks, parent, tuple(draft.axes), tuple(seen))
    order = {node.name: n for n, node in enumerate(reading.program.graph.nodes)}
    in_order = sorted((tap for seen in taps for tap in seen), key=lambda tap: order[tap.name])
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state.items()}
    return PermutationSpec(
        groups=groups,
        shapes=shapes,
        aliases=network.aliases,
        traced=TracedModel(reading.program, in_order),
        training_only=training_only,
        warnings=tuple(reading.ledger.warnings),
        permutable_share=_share(drafts, {n: shapes[n] for n in network.parameters}),
    )


def _share(drafts: list[Draft], parameters: Mapping[str, tuple[int, ...]]) -> float:
    """Return the share of the parameters that lie on at least one permutable axis."""
    still = dict.fromkeys(parameters, 1.0)
    covered: dict[tuple[str, int | None, int], float] = {}
    for draft in drafts:
        for axis in draft.axes:
            shape = parameters.get(axis.tensor)
            if shape is not None:
                length = torch.Size(shape).numel() if axis.dim is None else shape[axis.dim] * axis.conv_groups
                key = (axis.tensor, axis.dim, axis.conv_groups)
                covered[key] = covered.get(key, 0.0) + axis.positions.numel() / length
    for (name, _, _), part in covered.items():
        still[name] *= 1.0 - part
    sizes = {name: torch.Size(shape).numel() for name, shape in parameters.items()}
    total = sum(sizes.values())
    if total == 0:
        raise SymmetryError("the network has no parameters")
    return 1.0 - sum(sizes[name] * part for name, part in still.items()) / total
