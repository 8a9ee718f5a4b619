"""The typed configuration object, and building it from a composed one with all faults found at once."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_object, instantiate
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated
from torch import nn

from dimat_flwr.algorithms.interface import Algorithm
from dimat_flwr.component import STRICT
from dimat_flwr.config.compose import compose_config
from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.settings import BatchNormSettings, EvaluateSettings, TrainingSettings
from dimat_flwr.data import DataSource, Partition
from dimat_flwr.learning import OptimizerSource
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.topology import Schedule, ScheduleError, Topology

_PARTS: dict[str, type] = {
    "algorithm": Algorithm,
    "topology": Topology,
    "schedule": Schedule,
    "dataset": DataSource,
    "partition": Partition,
    "optimizer": OptimizerSource,
}
_SECTIONS: dict[str, type] = {
    "training": TrainingSettings,
    "evaluate": EvaluateSettings,
    "batchnorm": BatchNormSettings,
    "relay": RelaySettings,
}


@validated(frozen=True, kw_only=True, config=STRICT)
class _Plain:
    """The values at the top level of ``conf/config.yaml``."""

    seed: int = Field(ge=0, lt=2**63)
    rounds: int = Field(ge=0, le=1_000_000)
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)
    output_dir: str = Field(min_length=1)
    data_dir: str | None


@dataclass(frozen=True)
class Config:
    """A run's whole configuration, checked.

    Attributes:
        choices: group -> the name of the chosen yaml, for records.
        model: ``_target_`` and arguments of the network, see ``build_model``.
        text: the resolved configuration as YAML.
        others: see ``conf/config.yaml``.
    """

    algorithm: Algorithm
    topology: Topology
    schedule: Schedule
    dataset: DataSource
    partition: Partition
    optimizer: OptimizerSource
    model: Mapping[str, Any]
    training: TrainingSettings
    evaluate: EvaluateSettings
    batchnorm: BatchNormSettings
    relay: RelaySettings
    seed: int
    rounds: int
    name: str
    output_dir: str
    data_dir: str | None
    choices: Mapping[str, str]
    text: str

    def build_model(self) -> nn.Module:
        """Return a new network, its weights drawn from torch's global generator."""
        return build_model(self.model)


def build_model(settings: Mapping[str, Any]) -> nn.Module:
    """Return a new network from its ``_target_`` and arguments, its weights drawn from torch's global generator.

    Raises:
        ConfigError: the target makes something else than a network.
    """
    model = instantiate(dict(settings))
    if not isinstance(model, nn.Module):
        raise ConfigError([f"model._target_ '{settings.get('_target_')}' makes a {type(model).__name__}, no nn.Module"])
    return model


def load_config(run_config: Mapping[str, Any], node_config: Mapping[str, Any], conf_dir: Path) -> Config:
    """Return the checked configuration of a run.

    Args:
        run_config: Flower's run-config, see ``[tool.flwr.app.config]`` in pyproject.toml.
        node_config: a SuperNode's own settings (those of ``NODE_KEYS``); empty at the relay.
        conf_dir: the folder ``conf/``.

    Raises:
        ConfigError: with all faults found.
    """
    composed, choices = compose_config(run_config, node_config, conf_dir)
    if composed.name == "":
        composed.name = "-".join(choices[group] for group in ("algorithm", "topology", "dataset"))
    try:
        resolved: dict[str, Any] = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise ConfigError([str(error).strip().splitlines()[0]]) from error
    problems: list[str] = []
    built: dict[str, Any] = {}
    for group, base in _PARTS.items():
        built[group] = _build_part(group, base, resolved.pop(group), problems)
    for section, cls in _SECTIONS.items():
        built[section] = _validate(section, cls, resolved.pop(section), problems)
    model = resolved.pop("model")
    plain = _validate("", _Plain, resolved, problems)
    if not problems:
        config = Config(
            **built,
            model=model,
            **{name: getattr(plain, name) for name in ("seed", "rounds", "name", "output_dir", "data_dir")},
            choices=choices,
            text=OmegaConf.to_yaml(composed, resolve=True),
        )
        problems += _check_together(config)
    if problems:
        raise ConfigError(problems)
    return config


def _build_part(group: str, base: type, values: dict[str, Any], problems: list[str]) -> Any:
    target = str(values.pop("_target_", ""))
    try:
        cls = get_object(target)
    except (ImportError, ValueError) as error:
        problems.append(f"{group}._target_ '{target}' cannot be imported: {error}")
        return None
    if not (isinstance(cls, type) and issubclass(cls, base)):
        problems.append(f"{group}._target_ '{target}' is not a subclass of {base.__module__}.{base.__qualname__}")
        return None
    return _validate(group, cls, values, problems)


def _validate(where: str, cls: type, values: dict[str, Any], problems: list[str]) -> Any:
    try:
        return TypeAdapter(cls).validate_python(values)
    except ValidationError as error:
        for fault in error.errors():
            path = ".".join([*([where] if where else []), *(str(part) for part in fault["loc"])])
            given = "" if fault["type"] in ("missing", "dataclass_type") else f" (got {fault['input']!r})"
            problems.append(f"{path}: {fault['msg']}{given}")
    return None


def _check_together(config: Config) -> list[str]:
    """Return the faults that no part can see alone."""
    problems = []
    try:
        config.schedule.check(config.rounds)
    except ScheduleError as error:
        problems.append(f"schedule: {error}")
    problems += _check_model(config)
    return problems


def _check_model(config: Config) -> list[str]:
    """Build the network without memory (on torch's meta device) and send an image's shape through it."""
    target, data = config.model.get("_target_"), config.dataset
    try:
        with torch.device("meta"), torch.no_grad():
            images = torch.empty(2, data.channels, data.image_size, data.image_size)
            scores = config.build_model().eval()(images)
    except ConfigError as error:
        return error.problems
    # A network is anybody's code and may raise anything; whatever it raises is a fault of this combination.
    except Exception as error:  # noqa: BLE001
        reason = (str(error.__cause__ or error).strip().splitlines() or [type(error).__name__])[0]
        return [
            f"model '{config.choices['model']}' ({target}) does not work with dataset '{config.choices['dataset']}' "
            f"(images {data.channels} x {data.image_size} x {data.image_size}): {reason}"
        ]
    if tuple(getattr(scores, "shape", ())) != (2, data.num_classes):
        return [
            f"model '{config.choices['model']}' returns {tuple(getattr(scores, 'shape', ()))} for 2 images, not "
            f"(2, {data.num_classes}) class scores as dataset '{config.choices['dataset']}' needs"
        ]
    return []
