"""Building the typed configuration from a composed one, with all faults found at once."""

import inspect
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

from hydra.utils import get_object
from pydantic import Field, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from dimat_flwr.component import STRICT
from dimat_flwr.config.compose import EXPERIMENT, compose_config
from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.membership import membership_faults
from dimat_flwr.config.parts import GROUPS, PARTS, SECTIONS, Config
from dimat_flwr.config.privacy import privacy_faults
from dimat_flwr.config.settings import SeedSettings
from dimat_flwr.config.values import worded
from dimat_flwr.topology import ScheduleError


@validated(frozen=True, kw_only=True, config=STRICT)
class _Values:
    """The values at the top level of ``conf/config.yaml``."""

    seed: int = Field(ge=0, lt=2**63)
    seeds: SeedSettings
    rounds: int = Field(ge=0, le=1_000_000)
    name: Annotated[
        str, worded(r"[A-Za-z0-9][A-Za-z0-9._-]*", "letters, digits, dots, - and _, a letter or digit first")
    ] = Field(max_length=100)
    output_dir: str = Field(min_length=1)
    data_dir: str | None
    cache_dir: str = Field(min_length=1)


def load_config(run_config: Mapping[str, Any], node_config: Mapping[str, Any], conf_dir: Path) -> Config:
    """Return the checked configuration of a run.

    Args:
        run_config: Flower's run-config, see ``[tool.flwr.app.config]`` in pyproject.toml.
        node_config: a SuperNode's own settings (those of ``NODE_KEYS``); empty at the relay.
        conf_dir: the folder ``conf/``.

    Raises:
        ConfigError: with all faults found.
    """
    composed = compose_config(run_config, node_config, conf_dir, GROUPS)
    resolved = composed.values
    for group, own in composed.retargeted.items():
        resolved[group] = _without_misfits(resolved[group], own)
    problems: list[str] = []
    built: dict[str, Any] = {}
    for group, base in PARTS.items():
        built[group] = build_part(group, base, resolved.pop(group, None), problems)
    for section, cls in SECTIONS.items():
        built[section] = _validate(section, cls, resolved.pop(section, None), problems)
    model = resolved.pop("model", None)
    if unread := resolved.pop(EXPERIMENT, None):
        problems.append(
            f"experiment: nobody reads what is set there ({', '.join(map(str, unread))}). The first line of "
            "conf/experiment/<name>.yaml is '# @package _global_', and an override names a key without 'experiment.'"
        )
    values = _validate("", _Values, resolved, problems)
    if problems:
        raise ConfigError(problems)
    plain = {**vars(values), "seeds": values.seeds.filled(values.seed)}
    config = Config(**built, **plain, model=model, choices=composed.choices, text=composed.text)
    if problems := _faults_together(config):
        raise ConfigError(problems)
    return config


def build_part(group: str, base: Any, values: Any, problems: list[str]) -> Any:
    """Return the part that a yaml describes, None after adding what is wrong to ``problems``.

    Args:
        group: its group, for the messages.
        base: the class that such parts have.
        values: ``_target_`` and its arguments.
        problems: takes the faults.
    """
    if not isinstance(values, dict):
        problems.append(f"{group}: expected the keys of one of conf/{group}, got {values!r}")
        return None
    target = str(values.pop("_target_", ""))
    try:
        cls = get_object(target)
    # Importing runs anybody's code; whatever it raises is a fault of this choice.
    except (Exception, SystemExit) as error:  # noqa: BLE001
        problems.append(f"{group}._target_ '{target}' cannot be imported: {error}")
        return None
    if not (isinstance(cls, type) and issubclass(cls, base)):
        problems.append(f"{group}._target_ '{target}' is not a subclass of {base.__module__}.{base.__qualname__}")
        return None
    return _validate(group, cls, values, problems)


def _without_misfits(values: dict[str, Any], own: Collection[str]) -> dict[str, Any]:
    """Leave out what a yaml sets for the ``_target_`` it names and another one in its place does not take.

    So ``dataset._target_=my.Tokens`` needs no list of keys to take away. What a person set is never left out.

    Args:
        values: the group's values.
        own: the keys that overrides set.
    """
    try:
        parameters = inspect.signature(get_object(str(values["_target_"]))).parameters.values()
    except (Exception, SystemExit):  # noqa: BLE001 - what cannot be imported or looked at is told when it is built
        return values
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return values
    taken = {parameter.name for parameter in parameters}
    return {key: value for key, value in values.items() if key in taken or key in own}


def _validate(where: str, cls: type, values: Any, problems: list[str]) -> Any:
    try:
        built: Any = TypeAdapter(cls).validate_python(values)
        no_numbers = _no_numbers(values, built, where)
        problems += [f"{path}: Input should be a number (got {given})" for path, given in no_numbers]
        return built
    except ValidationError as error:
        for fault in error.errors():
            path = ".".join([*([where] if where else []), *(str(part) for part in fault["loc"])])
            whole = fault["type"] in ("missing", "dataclass_type") or isinstance(fault["input"], dict)
            given = "" if whole else f" (got {fault['input']!r})"
            problems.append(f"{path}: {fault['msg'].removeprefix('Value error, ')}{given}")
    return None


def _no_numbers(given: Any, built: Any, path: str) -> Iterator[tuple[str, bool]]:
    """Yield where true or false was given and pydantic has taken it for 1 or 0."""
    if isinstance(given, dict):
        for key, value in given.items():
            yield from _no_numbers(value, getattr(built, str(key), None), f"{path}.{key}" if path else str(key))
    elif isinstance(given, bool) and isinstance(built, int | float) and not isinstance(built, bool):
        yield path, given


def _faults_together(config: Config) -> list[str]:
    """Return the faults that no part can see alone."""
    problems = []
    try:
        config.schedule.mode(0, config.rounds)
    except ScheduleError as error:
        problems.append(f"schedule: {error}")
    if not config.algorithm.takes_any_optimizer and not config.optimizer.plain_step:
        problems.append(
            f"algorithm '{config.choices['algorithm']}' has a step of its own and would ignore all of optimizer "
            f"'{config.choices['optimizer']}' but its lr; choose optimizer: sgd"
        )
    if (config.algorithm.pools_data or config.final_merge.pools_data) and not config.partition.shared:
        problems.append(
            f"partition '{config.choices['partition']}' leaves every peer's samples on its own device, but algorithm "
            f"'{config.choices['algorithm']}' with match_data: pooled, or centralized, needs them all in one place; "
            "choose match_data: local, another algorithm or another partition"
        )
    if config.batchnorm.frozen and not config.training.pretrain_epochs and config.training.initialization != "file":
        problems.append(
            "batchnorm.frozen is true, training.pretrain_epochs is 0 and first weights are drawn: the running "
            "statistics that peers would train on were never measured; set training.pretrain_epochs, "
            "training.initialization=file with a file, or batchnorm.frozen=false"
        )
    if config.dataset.differs_by_peer and config.partition.shared:
        problems.append(
            f"data-dir '{config.dataset.data_dir}' gives every peer files of its own, and partition "
            f"'{config.choices['partition']}' would leave it only its share of them; choose partition: own, or a "
            "data-dir without {peer}"
        )
    if config.correction.corrects and not config.algorithm.takes_any_optimizer:
        problems.append(
            f"algorithm '{config.choices['algorithm']}' has a step of its own, in which correction "
            f"'{config.choices['correction']}' has no place; choose correction: none"
        )
    if config.correction.needs_plain_steps and not config.optimizer.plain_step:
        problems.append(
            f"correction '{config.choices['correction']}' takes local training for a sum of gradients, which it is not "
            f"with optimizer '{config.choices['optimizer']}'; choose optimizer: sgd"
        )
    if config.correction.needs_one_symmetric_mixing and config.algorithm.merges_old_models:
        problems.append(
            f"correction '{config.choices['correction']}' learns from what a merge makes of fresh models, and "
            f"algorithm '{config.choices['algorithm']}' merges old ones too; choose correction: none or proximal"
        )
    if not config.aggregation.is_mean:
        problems += [
            f"{group} '{config.choices[group]}' goes with no other aggregation than the mean, not with "
            f"'{config.choices['aggregation']}': {part.needs_mean}"
            for group, part in (("algorithm", config.algorithm), ("final_merge", config.final_merge))
            if part.needs_mean
        ]
    if not config.algorithm.takes_local_steps and config.training.local_steps != 1:
        problems.append(
            f"algorithm '{config.choices['algorithm']}' takes one minibatch a round and would ignore "
            "training.local_epochs and training.local_steps; set training.local_steps=1"
        )
    return problems + membership_faults(config) + privacy_faults(config)
