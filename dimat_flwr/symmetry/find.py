"""Finding the permutation symmetries of a network by tracing it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from dimat_flwr.symmetry.constraints.execute import Execution
from dimat_flwr.symmetry.constraints.ledger import Ledger
from dimat_flwr.symmetry.errors import SymmetryError, TraceError
from dimat_flwr.symmetry.group import Group
from dimat_flwr.symmetry.proving.prove import Prover, prove_or_narrow
from dimat_flwr.symmetry.solving.solve import solve
from dimat_flwr.symmetry.solving.visibility import find_taps
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tracing.call import Call, Example, at_least_two
from dimat_flwr.symmetry.tracing.program import Program
from dimat_flwr.symmetry.tracing.shapes import propagate_shapes
from dimat_flwr.symmetry.tracing.trace import trace_by_export, trace_symbolically, where
from dimat_flwr.symmetry.tracing.traced import TracedModel
from dimat_flwr.symmetry.tracing.untouched import in_mode, untouched


def find_permutation_spec(model: nn.Module, example_input: Example, *, prove: bool = True) -> PermutationSpec:
    """Find which axes of a network's tensors share a permutation, and prove it.

    The forward pass is traced (torch.fx, or torch.export where Python control flow needs it) and executed
    symbolically: every operator says which places of its operands, its result and its weights must move together.
    What an operator without a rule reads is kept in place, with a warning. The idea of groups of tied axes is that of
    Git Re-Basin (Ainsworth et al., ICLR 2023, section 3.2), found here instead of written by hand.

    What is found is then proven on a redrawn copy of the network in float64 (see ``proving.prove``): the traced
    program computes what the network computes, and no derangement of any group changes the output, while a wrong one
    would. Groups that fail are kept in place with a warning that names the operator.

    Args:
        model: any network; left as it was, in its own mode.
        example_input: what the network takes, on the model's device; a tuple for several inputs, a mapping for
            named ones. Dim 0 is the batch.
        prove: leave the proof out with ``False``; it costs about five forward passes.

    Returns:
        The specification; the same for the same network, whatever its weights.

    Raises:
        TraceError: the forward pass could not be traced; the message names the line.
        SymmetryError: the network does not run on its example.
    """
    call = Call.to(model, example_input)
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    network = _Network(state, _aliases(model), frozenset(dict(model.named_parameters())))
    prover = cache(lambda: Prover(model, call)) if prove else None  # once the network is known to be traceable
    reading = _best_reading(model, call, network, prover)
    training_only = _read_training_only(model, call, network, reading)
    spec = _specification(reading, network, training_only)
    if prover is not None:
        spec = prove_or_narrow(prover(), model, call, spec, reading.program)
    return _completed(spec, reading.program, network)


def _best_reading(model: nn.Module, call: Call, network: "_Network", prover: Callable[[], Prover] | None) -> "_Reading":
    """Return the reading with the fewest warnings of a program that computes what the network does."""
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
        if prover is not None and not prover().departure(program) <= prover().limit:
            failures.append(f"{tracer.__name__}: the trace computes something else than the network, which takes "
                            "another branch while it is traced")  # fmt: skip
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
    return best


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
    return PermutationSpec(
        groups=groups,
        shapes={name: tuple(tensor.shape) for name, tensor in network.state.items()},
        aliases=network.aliases,
        traced=TracedModel(lambda: reading.program, (), reading.program.tracer),
        training_only=training_only,
        warnings=tuple(reading.ledger.warnings),
        permutable_share=0.0,
    )


def _completed(spec: PermutationSpec, program: Program, network: _Network) -> PermutationSpec:
    """Return the specification with what follows from its groups: taps in order, share, what is left in place."""
    order = {node.name: n for n, node in enumerate(program.graph.nodes)}
    taps = sorted((tap for group in spec.groups.values() for tap in group.taps), key=lambda tap: order[tap.name])
    parameters = {name: spec.shapes[name] for name in network.parameters if name not in network.aliases}
    still = _parts_in_place(spec.groups.values(), parameters)
    sizes = {name: torch.Size(shape).numel() for name, shape in parameters.items()}
    if sum(sizes.values()) == 0:
        raise SymmetryError("the network has no parameters")
    warnings = spec.warnings
    told = " ".join(warnings)
    left = [n for n, shape in parameters.items() if still[n] == 1.0 and sum(s > 1 for s in shape) > 1]
    left = [n for n in left if f"'{n}'" not in told]
    if left:
        why = "what they read and write has an order, as inputs and class scores have"
        warnings = (*warnings, f"no units of {left[:5]} ({len(left)} tensors) can be exchanged: {why}")
    share = 1.0 - sum(sizes[name] * part for name, part in still.items()) / sum(sizes.values())
    return replace(
        spec, traced=TracedModel(lambda: program, taps, program.tracer), warnings=warnings, permutable_share=share
    )


def _parts_in_place(groups: Iterable[Group], parameters: Mapping[str, tuple[int, ...]]) -> dict[str, float]:
    """Return the part of each parameter that lies on no permutable axis."""
    still = dict.fromkeys(parameters, 1.0)
    covered: dict[tuple[str, int | None, int], float] = {}
    for group in groups:
        for axis in group.axes:
            shape = parameters.get(axis.tensor)
            if shape is not None:
                length = torch.Size(shape).numel() if axis.dim is None else shape[axis.dim] * axis.conv_groups
                key = (axis.tensor, axis.dim, axis.conv_groups)
                covered[key] = covered.get(key, 0.0) + axis.positions.numel() / length
    for (name, _, _), part in covered.items():
        still[name] *= 1.0 - part
    return still
