"""From Flower's flat run-config to Hydra's composed configuration, with every wrong key named before Hydra sees it."""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dimat_flwr.config.errors import ConfigError

GROUPS = ("algorithm", "topology", "schedule", "dataset", "partition", "model", "optimizer")
# Run-config key -> key of conf/config.yaml, for the values that most people change.
_VALUES = {"seed": "seed", "rounds": "rounds", "name": "name", "output-dir": "output_dir", "data-dir": "data_dir"}
# Key of a SuperNode's --node-config -> key of conf/config.yaml, for what differs from device to device.
NODE_KEYS = {
    "device": "training.device",
    "threads": "training.threads",
    "data-dir": "data_dir",
    "output-dir": "output_dir",
}

Scalars = Mapping[str, Any]


def compose_config(run_config: Scalars, node_config: Scalars, conf_dir: Path) -> tuple[DictConfig, dict[str, str]]:
    """Compose ``conf/`` with a run's choices and overrides.

    Args:
        run_config: Flower's run-config: one key per group, some values, and ``overrides``.
        node_config: a SuperNode's own configuration; empty at the relay.
        conf_dir: the folder ``conf/``.

    Returns:
        The composed, unresolved configuration and the choice made in each group.

    Raises:
        ConfigError: unknown keys or choices, or overrides that Hydra cannot read.
    """
    problems = _unknown_keys(run_config)
    user, unreadable = _parse(str(run_config.get("overrides", "")))
    problems += unreadable
    choices = {group: str(run_config[group]) for group in GROUPS if run_config.get(group, "") != ""}
    choices |= {override.key_or_group: str(override.value()) for override in user if _is_choice(override)}
    problems += _unknown_choices(choices, conf_dir)
    if problems:
        raise ConfigError(problems)

    chosen = [f"{group}={choice}" for group, choice in choices.items()]
    own = [override for override in user if not _is_choice(override)]
    base = _compose(chosen, conf_dir)
    problems = [problem for override in own for problem in _unknown_path(override, base)]
    if problems:
        raise ConfigError(problems)
    on_run = [_assignment(key, run_config[name]) for name, key in _VALUES.items() if run_config.get(name, "") != ""]
    # A device's own settings come last: whoever writes a run's overrides does not know its disks and cores.
    on_node = [_assignment(key, node_config[name]) for name, key in NODE_KEYS.items() if name in node_config]
    composed = _compose([*chosen, *on_run, *(str(override.input_line) for override in own), *on_node], conf_dir)
    return composed, _all_choices(choices, conf_dir)


def _unknown_keys(run_config: Scalars) -> list[str]:
    known = [*GROUPS, *_VALUES, "overrides"]
    return [
        f"unknown run-config key '{key}'{_suggest(key, known)}; known keys: {', '.join(known)}"
        for key in run_config
        if key not in known
    ]


def _unknown_choices(choices: Mapping[str, str], conf_dir: Path) -> list[str]:
    problems = []
    for group, choice in choices.items():
        allowed = sorted(path.stem for path in (conf_dir / group).glob("*.yaml"))
        if choice not in allowed:
            problems.append(f"unknown {group} '{choice}'{_suggest(choice, allowed)}; allowed: {', '.join(allowed)}")
    return problems


def _parse(overrides: str) -> tuple[list[Override], list[str]]:
    parser = OverridesParser.create()
    parsed: list[Override] = []
    problems: list[str] = []
    try:
        texts = shlex.split(overrides)
    except ValueError as error:
        return [], [f"overrides cannot be split into words ({error}): {overrides}"]
    for text in texts:
        try:
            override = parser.parse_override(text)
        except HydraException as error:
            problems.append(f"override '{text}' is not of the form key=value: {_first_line(error)}")
            continue
        if override.is_sweep_override():
            problems.append(f"override '{text}' names several values; a run takes one")
        else:
            parsed.append(override)
    return parsed, problems


def _is_choice(override: Override) -> bool:
    return override.key_or_group in GROUPS and not override.is_delete()


def _unknown_path(override: Override, base: DictConfig) -> list[str]:
    if override.is_add() or override.is_force_add():
        return []  # what is added is checked by the part that receives it
    node: Any = base
    for depth, key in enumerate(parts := override.key_or_group.split(".")):
        if not isinstance(node, DictConfig) or key not in node:
            allowed = [str(name) for name in node if name != "_target_"] if isinstance(node, DictConfig) else []
            where = ".".join(parts[:depth]) or "the configuration"
            known = f"; keys of {where}: {', '.join(sorted(allowed))}" if allowed else f"; {where} is a single value"
            return [f"unknown key '{override.key_or_group}'{_suggest(key, allowed)}{known}"]
        # An interpolation or a missing value is a leaf here.
        node = OmegaConf.select(base, ".".join(parts[: depth + 1]), throw_on_missing=False)
    return []


def _compose(overrides: list[str], conf_dir: Path) -> DictConfig:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(conf_dir.resolve()), version_base="1.3"):
            return compose(config_name="config", overrides=overrides)
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([_first_line(error)]) from error


def _all_choices(choices: Mapping[str, str], conf_dir: Path) -> dict[str, str]:
    defaults = OmegaConf.select(OmegaConf.load(conf_dir / "config.yaml"), "defaults")
    groups = [item for item in defaults if isinstance(item, DictConfig)]
    return {str(group): str(name) for item in groups for group, name in item.items()} | dict(choices)


def _assignment(key: str, value: Any) -> str:
    if isinstance(value, str):
        quoted = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"{key}='{quoted}'"
    return f"{key}={value}"


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0]
