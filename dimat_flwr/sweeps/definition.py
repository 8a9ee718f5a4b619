"""What a named sweep is: a yaml of ``conf/sweep``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Self

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, TypeAdapter, ValidationError, model_validator
from pydantic.dataclasses import dataclass
from yaml import YAMLError

from dimat_flwr.component import STRICT
from dimat_flwr.records.sweep.read import METRICS
from dimat_flwr.sweeps.errors import SweepError

FOLDER = "sweep"  # below conf/
_HIDDEN = "_"  # begins the names of what sweeps share and is none by itself

Scalar = str | int | float | bool | None
_TYPES = ("str", "int", "float", "bool")  # of a scalar, as pydantic calls them
PEERS = "peers"  # how it is called here; in a run's configuration it is relay.peers


@dataclass(frozen=True, config=STRICT)
class Told:
    """What a paper says of some cells.

    Attributes:
        values: key -> value of those cells; no seed, as it is a mean over seeds.
        source: where it stands.
        metric: one of ``records.sweep.METRICS``; None with ``text``.
        value: the figure, in the metric's unit.
        std: its standard deviation, None where the paper tells none.
        text: what it says in words, where it tells no figure.
    """

    values: dict[str, Scalar]
    source: str
    metric: str | None = None
    value: float | None = None
    std: float | None = None
    text: str | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.metric is None) != (self.value is None) or (self.metric is None and self.text is None):
            raise ValueError("it needs a metric with its value, or a text")
        return self


def _full() -> dict[str, dict[str, Scalar]]:
    return {"full": {}}


@dataclass(frozen=True, config=STRICT)
class Definition:
    """A named sweep.

    Attributes:
        title: what it shows, in a line.
        grid: key -> what would stand behind its = in one of Hydra's overrides; with several values (``a,b``,
            ``range(0,5)``) it is an axis.
        scales: name -> the same, in the place of what ``grid`` says; ``full`` is the default.
        when: condition -> key -> the one value that it has in the cells that the condition holds for. A condition is
            overrides in the same grammar, separated by spaces: ``algorithm=sgp,cdsgd partition=classes`` holds for a
            cell that has one of the values of each; ``scale`` may be asked for, too. Where several hold the later
            ones win; what is given on the command line wins over all whose condition does not ask for that very key.
        skip: conditions of cells that are left out.
        needs_gpu: scales that nobody would wait for without one.
        labels: keys of the grid that are no keys of a run's configuration, such as ``compat``; only ``when`` and
            ``skip`` read them.
        paper: what the paper says.
    """

    title: str
    grid: dict[str, Scalar]
    scales: dict[str, dict[str, Scalar]] = Field(default_factory=_full)
    when: dict[str, dict[str, Scalar]] = Field(default_factory=dict)
    skip: list[str] = Field(default_factory=list)
    needs_gpu: list[str] = Field(default_factory=list)
    labels: list[str] = Field(default_factory=list)
    paper: list[Told] = Field(default_factory=list)

    @model_validator(mode="after")
    def _names_what_there_is(self) -> Self:
        keys = {PEERS, *self.grid, *(key for scale in self.scales.values() for key in scale)}
        for what, names, there in (
            ("needs_gpu", self.needs_gpu, set(self.scales)),
            ("labels", self.labels, keys),
            ("paper", [key for told in self.paper for key in told.values], keys),
            ("metric of paper", [told.metric for told in self.paper if told.metric], set(METRICS)),
        ):
            if unknown := dict.fromkeys(name for name in names if name not in there):
                raise ValueError(
                    f"{what} names {', '.join(unknown)}, of which the sweep has none; it has {_list(there)}"
                )
        return self


def sweep_names(conf_dir: Path) -> list[str]:
    """Return the names of all sweeps."""
    return sorted(path.stem for path in (conf_dir / FOLDER).glob("*.yaml") if not path.stem.startswith(_HIDDEN))


def load_definition(name: str, conf_dir: Path) -> Definition:
    """Return the sweep of a name.

    Args:
        name: of a yaml in ``conf/sweep``, which may build on others with Hydra's ``defaults``.
        conf_dir: the folder ``conf/``.

    Raises:
        SweepError: there is none, or its yaml has faults.
    """
    known = sweep_names(conf_dir)
    if name not in known:
        raise SweepError(f"there is no sweep '{name}'; there are: {', '.join(known)}")
    values = _composed(name, conf_dir)
    try:
        return TypeAdapter(Definition).validate_python(values)
    except ValidationError as error:
        raise SweepError(f"conf/{FOLDER}/{name}.yaml: {'; '.join(_faults(error))}") from error


def _faults(error: ValidationError) -> list[str]:
    """Return what is wrong, each place once: of a value that fits none of several types pydantic tells each of them."""
    found: dict[str, str] = {}
    for fault in error.errors():
        loc = [str(part) for part in fault["loc"]]
        if loc and loc[-1] in _TYPES and isinstance(fault["input"], list | dict):
            loc, told = (
                loc[:-1],
                "is a list or mapping; several values are written as one text, 'a,b,c' or 'range(0,5)'",
            )
        else:
            told = fault["msg"].removeprefix("Value error, ")
        found.setdefault(".".join(loc), told)
    return [f"{place}: {told}" if place else told for place, told in found.items()]


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _composed(name: str, conf_dir: Path) -> Mapping[str, Any]:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str((conf_dir / FOLDER).resolve()), version_base="1.3"):
            values: Any = OmegaConf.to_container(compose(config_name=name), resolve=True)
    except YAMLError as error:
        raise SweepError(f"conf/{FOLDER}/{name}.yaml is no YAML: {' '.join(str(error).split())}") from error
    except (HydraException, OmegaConfBaseException) as error:
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise SweepError(f"conf/{FOLDER}/{name}.yaml: {first}") from error
    return {str(key): value for key, value in values.items()}
