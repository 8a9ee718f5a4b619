"""From a sweep's overrides, in Hydra's own grammar, to its cells."""

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from dimat_flwr.sweeps.definition import PEERS, Definition, Scalar
from dimat_flwr.sweeps.errors import SweepError

SCALE = "scale"
_FULL = "full"
_PEERS_KEY = "relay.peers"

Value = Any  # what an override can say: text, number, bool, None, or lists and dicts of them
# Key -> (what stands behind its =, the value that is).
_Settings = Mapping[str, tuple[str, Value]]


@dataclass(frozen=True)
class Cell:
    """One run of a sweep.

    Attributes:
        values: key -> value, of the axes as the grid has them (a condition may give such a cell another one to run
            with), and of all that is the same in every cell.
        overrides: the run's, in Hydra's grammar.
        peers: how many.
    """

    values: dict[str, Value]
    overrides: tuple[str, ...]
    peers: int


@dataclass(frozen=True)
class Grid:
    """The cells of a sweep.

    Attributes:
        scale: the scale that was taken.
        axes: key -> its values in the order given, for keys with several.
        fixed: key -> value, of the other keys of the grid.
        cells: in order; the first axis changes slowest.
    """

    scale: str
    axes: dict[str, list[Value]]
    fixed: dict[str, Value]
    cells: list[Cell]


def expand(definition: Definition, words: Sequence[str]) -> Grid:
    """Return the cells of a sweep.

    Args:
        definition: the sweep.
        words: what the command line says: ``scale=small``, and overrides that win over everything in the definition,
            with several values to make or to narrow an axis.

    Raises:
        SweepError: words that cannot be read, a scale that is not there, or nothing left of the grid.
    """
    given = [word for word in words if not word.startswith(f"{SCALE}=")]
    scales = [word.partition("=")[2] for word in words if word not in given]
    scale = scales[-1] if scales else _FULL
    if scale not in definition.scales:
        raise SweepError(f"there is no scale '{scale}' of this sweep; choose one of {', '.join(definition.scales)}")
    own = {_key(override) for override in map(_parsed, given)}
    ways: dict[str, list[tuple[str, Value]]] = {PEERS: [("5", 5)]}
    for text in (*_texts(definition.grid), *_texts(definition.scales[scale]), *given):
        override = _parsed(text)
        ways[_key(override)] = _values(override, text)
    rules = [(_Condition.of(text, ways), _single(_texts(then))) for text, then in definition.when.items()]
    left_out = [_Condition.of(text, ways) for text in definition.skip]
    made: list[tuple[_Settings, dict[str, Value]]] = []
    for chosen in itertools.product(*ways.values()):
        settings = dict(zip(ways, chosen, strict=True))
        seen = {SCALE: scale, **{key: value for key, (_, value) in settings.items()}}
        if not any(condition.holds(seen) for condition in left_out):
            for condition, changes in rules:
                if condition.holds(seen):
                    # What the command line asks for stays, unless the condition itself is on what it asks for.
                    kept = own - condition.wanted.keys()
                    settings.update({key: change for key, change in changes.items() if key not in kept})
            made.append((settings, seen))
    if not made:
        raise SweepError("no cell is left: the sweep's own conditions (skip) leave out all that was asked for")
    axes = {key: _distinct(value for _, value in values) for key, values in ways.items() if len(values) > 1}
    fixed = {
        key: values[0]
        for key in ways
        if key not in axes and len(values := _distinct(settings[key][1] for settings, _ in made)) == 1
    }
    cells = [
        _cell(settings, {**{key: seen[key] for key in axes}, **fixed}, definition.labels) for settings, seen in made
    ]
    return Grid(scale, axes, fixed, cells)


@dataclass(frozen=True)
class _Condition:
    wanted: Mapping[str, Sequence[Value]]

    @classmethod
    def of(cls, text: str, ways: Iterable[str]) -> "_Condition":
        """Read a condition on keys of the grid; see ``Definition.when``."""
        wanted = {}
        for word in text.split():
            override = _parsed(word)
            wanted[_key(override)] = [value for _, value in _values(override, word)]
        if unknown := wanted.keys() - {*ways, SCALE}:
            raise SweepError(
                f"the condition '{text}' asks for {', '.join(sorted(unknown))}, of which the grid says nothing"
            )
        return cls(wanted)

    def holds(self, values: Mapping[str, Value]) -> bool:
        return all(values[key] in allowed for key, allowed in self.wanted.items())


def _cell(settings: _Settings, values: dict[str, Value], labels: Sequence[str]) -> Cell:
    peers = settings[PEERS][1]
    if not isinstance(peers, int) or isinstance(peers, bool) or peers < 2:
        raise SweepError(f"peers is {peers!r}, not a number from 2 on")
    names = {PEERS: _PEERS_KEY}
    overrides = [f"{names.get(key, key)}={text}" for key, (text, _) in settings.items() if key not in labels]
    return Cell(values, tuple(overrides), peers)


def _texts(values: Mapping[str, Scalar]) -> list[str]:
    """Return a yaml's keys and values as overrides."""
    return [f"{key}={value if isinstance(value, str) else json.dumps(value)}" for key, value in values.items()]


def _parsed(text: str) -> Override:
    try:
        return OverridesParser.create().parse_override(text)
    except HydraException as error:
        first = str(error).strip().splitlines()[0]
        raise SweepError(f"'{text}' is not of the form key=value or key=value,value: {first}") from error


def _key(override: Override) -> str:
    key: str = override.get_key_element()
    return PEERS if key == _PEERS_KEY else key


def _values(override: Override, text: str) -> list[tuple[str, Value]]:
    """Return the ways that an override can go: what stands behind its =, and what that is."""
    if not override.is_sweep_override():
        return [(override.get_value_element_as_str(), override.value())]
    if not override.is_discrete_sweep():
        raise SweepError(f"'{text}' names no values that can be counted; use a,b,c or choice(a,b,c) or range(0,5)")
    try:
        texts = list(override.sweep_string_iterator())
    except (HydraException, AssertionError) as error:
        raise SweepError(f"'{text}' cannot be taken apart into values: {error}") from error
    if not texts:
        raise SweepError(f"'{text}' names no value at all, so that there would be no cell")
    return [(way, _parsed(f"x={way}").value()) for way in texts]


def _single(texts: Sequence[str]) -> dict[str, tuple[str, Value]]:
    settings = {}
    for text in texts:
        override = _parsed(text)
        if override.is_sweep_override():
            raise SweepError(f"'{text}' stands under a condition and names several values; only the grid may")
        (settings[_key(override)],) = _values(override, text)
    return settings


def _distinct(values: Iterable[Value]) -> list[Value]:
    found: list[Value] = []
    for value in values:
        if value not in found:
            found.append(value)
    return found
