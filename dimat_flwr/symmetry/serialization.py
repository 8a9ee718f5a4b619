"""A specification as JSON: everything but the graph, which is traced again when it is first run."""

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.group import AxisRef, Group
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tap import Tap
from dimat_flwr.symmetry.tracing.call import Example
from dimat_flwr.symmetry.tracing.traced import TracedModel

FORMAT = 1


def spec_to_json(spec: PermutationSpec) -> str:
    """Return a specification as JSON text, for ``spec_from_json``."""
    content = {
        "format": FORMAT,
        "groups": [_group(group) for group in spec.groups.values()],
        "shapes": spec.shapes,
        "aliases": spec.aliases,
        "taps": [(tap.name, tap.group) for tap in spec.traced.taps],
        "tracer": spec.traced.tracer,
        "training_only": spec.training_only,
        "warnings": spec.warnings,
        "permutable_share": spec.permutable_share,
    }
    return json.dumps(content, separators=(",", ":"))


def spec_from_json(text: str, model: nn.Module, example_input: Example) -> PermutationSpec:
    """Return the specification that was written as JSON.

    Args:
        text: what ``spec_to_json`` returned.
        model: the network it is of; it is kept, and traced again when the specification's graph is first run.
        example_input: as for ``find_permutation_spec``.

    Raises:
        SymmetryError: the text is no specification, or that of a network with other tensors.
    """
    try:
        content = json.loads(text)
        if content["format"] != FORMAT:
            raise SymmetryError(f"the specification has format {content['format']}, this version reads {FORMAT}")
        groups = {raw["name"]: _as_group(raw) for raw in content["groups"]}
        taps = {(tap.name, tap.group): tap for group in groups.values() for tap in group.taps}
        spec = PermutationSpec(
            groups=groups,
            shapes={name: tuple(shape) for name, shape in content["shapes"].items()},
            aliases=content["aliases"],
            traced=TracedModel(
                lambda: _retraced(model, example_input, content["tracer"]),
                [taps[name, group] for name, group in content["taps"]],
                content["tracer"],
            ),
            training_only=tuple(content["training_only"]),
            warnings=tuple(content["warnings"]),
            permutable_share=float(content["permutable_share"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise SymmetryError(f"this is no specification ({type(error).__name__}: {error}): find it anew") from error
    own = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    if own != spec.shapes:
        wrong = sorted(name for name in own.keys() | spec.shapes.keys() if own.get(name) != spec.shapes.get(name))
        raise SymmetryError(f"the specification is of a network with other tensors {wrong[:5]}: find it anew")
    return spec


def _retraced(model: nn.Module, example_input: Example, tracer: str) -> Any:
    from dimat_flwr.symmetry.tracing.trace import retrace  # heavy, and not needed by who only permutes

    return retrace(model, example_input, tracer)


def _group(group: Group) -> dict[str, Any]:
    return {
        "name": group.name,
        "units": group.units,
        "blocks": group.blocks,
        "parent": group.parent,
        "axes": [
            {"tensor": a.tensor, "dim": a.dim, "at": _positions(a.positions), "groups": a.conv_groups, "by": a.operator}
            for a in group.axes
        ],
        "taps": [{"name": t.name, "dims": t.dims, "at": _positions(t.positions), "whole": t.whole} for t in group.taps],
    }


def _as_group(raw: Mapping[str, Any]) -> Group:
    axes = (AxisRef(a["tensor"], a["dim"], _as_positions(a["at"]), a["groups"], a["by"]) for a in raw["axes"])
    taps = (Tap(t["name"], raw["name"], tuple(t["dims"]), _as_positions(t["at"]), t["whole"]) for t in raw["taps"])
    return Group(raw["name"], raw["units"], raw["blocks"], raw["parent"], tuple(axes), tuple(taps))


def _positions(positions: Tensor) -> dict[str, Any]:
    """Return positions by shape, and by start and strides where they are regular, else one by one."""
    shape = tuple(positions.shape)
    start = int(positions[(0,) * len(shape)])
    strides = [
        int(positions.select(d, 1)[(0,) * (len(shape) - 1)]) - start if n > 1 else 0 for d, n in enumerate(shape)
    ]
    if torch.equal(_regular(shape, start, strides), positions):
        return {"shape": shape, "start": start, "strides": strides}
    return {"shape": shape, "all": positions.flatten().tolist()}


def _as_positions(raw: Mapping[str, Any]) -> Tensor:
    if "all" in raw:
        return torch.tensor(raw["all"], dtype=torch.int64).reshape(raw["shape"])
    return _regular(raw["shape"], raw["start"], raw["strides"])


def _regular(shape: Any, start: int, strides: list[int]) -> Tensor:
    positions = torch.tensor(start, dtype=torch.int64)
    for size, stride in zip(shape, strides, strict=True):
        positions = positions[..., None] + stride * torch.arange(size)
    return positions
