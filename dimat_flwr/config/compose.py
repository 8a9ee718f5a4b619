"""From Flower's flat run-config to Hydra's composed configuration, with every wrong key named before Hydra sees it."""

import copy
import difflib
import re
import shlex
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from logging import NullHandler, getLogger
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.text import to_yaml
from dimat_flwr.config.values import set_value

# Run-config key -> key of conf/config.yaml, for the values that most people change.
VALUES = {"seed": "seed", "rounds": "rounds", "name": "name", "output-dir": "output_dir", "data-dir": "data_dir"}
# Key of a SuperNode's --node-config -> key of conf/config.yaml, for what differs from device to device.
NODE_KEYS = {
    "device": "training.device",
    "threads": "training.threads",
    "data-dir": "data_dir",
    "output-dir": "output_dir",
    "cache-dir": "cache_dir",
    "state-dir": "checkpoint.dir",
    "key-file": "security.key_file",
    "known-peers": "security.known_peers",
    "seal": "security.seal",  # so that a device can insist, whatever the run says; so with the next two
    "noise-multiplier": "privacy.noise_multiplier",
    "secret-noise": "privacy.secret",
}
RESUME = "resume-from"  # the run-config key that names a run to go on with; no part of a configuration
EXPERIMENT = "experiment"  # the group whose yaml may set anything, and builds no part

Scalars = Mapping[str, Any]

# Hydra writes of what it cannot import to the log before it raises the error that is told; without a handler of its own
# that would come out on stderr, once for each peer.
getLogger("hydra").addHandler(NullHandler())


@dataclass(frozen=True)
class Composed:
    """A composed configuration.

    Attributes:
        values: resolved, as nested dicts.
        choices: the choice made in each group.
        text: the same as YAML.
        retargeted: group whose ``_target_`` an override replaced -> the keys of the group that overrides set.
    """

    values: dict[str, Any]
    choices: dict[str, str]
    text: str
    retargeted: dict[str, set[str]]


def compose_config(run_config: Scalars, node_config: Scalars, conf_dir: Path, groups: Iterable[str]) -> Composed:
    """Compose ``conf/`` with a run's choices and overrides.

    Args:
        run_config: Flower's run-config: one key per group, some values, and ``overrides``; an empty text leaves the
            choice to ``conf/``.
        node_config: a SuperNode's own configuration; empty at the relay.
        conf_dir: the folder ``conf/``.
        groups: the groups of ``conf/`` that make parts.

    Raises:
        ConfigError: unknown keys or choices, or overrides that cannot be read or resolved.
    """
    known = [*groups, EXPERIMENT]
    problems = _unknown_keys(run_config, known)
    overrides, unreadable = _parse(str(run_config.get("overrides", "")), known)
    problems += unreadable
    choices = {group: str(run_config[group]) for group in known if run_config.get(group, "") != ""}
    choices |= {override.key_or_group: str(override.value()) for override in overrides if _is_choice(override, known)}
    unknown = _unknown_choices(choices, conf_dir)
    problems += unknown.values()
    chosen = [f"{group}={choice}" for group, choice in choices.items() if group not in unknown]
    own = [override for override in overrides if not _is_choice(override, known)]
    # What belongs to a choice that is not known cannot be checked; all else can, so that every fault is told at once.
    checked = [override for override in own if override.key_or_group.split(".")[0] not in unknown]
    if not problems or checked:
        shared, made = _compose(chosen, conf_dir)
        problems += [
            f"nothing is chosen for {group}: conf/config.yaml, or a yaml that overrides it, must name a choice"
            for group in known[:-1]
            if group not in made
        ]
        problems += [problem for override in checked for problem in _unknown_path(override, shared)]
    if problems:
        raise ConfigError(problems)
    composed = copy.deepcopy(shared)
    OmegaConf.set_readonly(composed, False)
    overridden = {override.key_or_group for override in own}
    on_run = {key: run_config[name] for name, key in VALUES.items() if run_config.get(name, "") != ""}
    # A device's own settings come last: whoever writes a run's overrides does not know its disks and cores.
    on_node = {key: node_config[name] for name, key in NODE_KEYS.items() if name in node_config}
    try:
        for override in own:
            set_value(composed, override)
        for key, value in ({k: v for k, v in on_run.items() if k not in overridden} | on_node).items():
            OmegaConf.update(composed, key, value)
        if composed.name == "":
            composed.name = "-".join(made[group] for group in ("algorithm", "topology", "dataset"))
        resolved: dict[str, Any] = OmegaConf.to_container(composed, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise ConfigError([_unresolved(error, made)]) from error
    try:
        return Composed(resolved, made, to_yaml(resolved), _retargeted(own))
    except ValueError as error:
        raise ConfigError([str(error)]) from error


def _retargeted(overrides: Iterable[Override]) -> dict[str, set[str]]:
    keys: dict[str, set[str]] = defaultdict(set)
    for override in overrides:
        group, _, key = override.key_or_group.partition(".")
        keys[group].add(key.split(".")[0])
    return {group: found for group, found in keys.items() if "_target_" in found}


def _unknown_keys(run_config: Scalars, groups: list[str]) -> list[str]:
    known = [*groups, *VALUES, "overrides", RESUME]
    return [
        f"unknown run-config key '{key}'{_suggest(key, known)}; known keys: {', '.join(known)}"
        for key in run_config
        if key not in known
    ]


def _unknown_choices(choices: Mapping[str, str], conf_dir: Path) -> dict[str, str]:
    """Return group -> what is wrong with the choice made in it."""
    problems = {}
    for group, choice in choices.items():
        allowed = sorted(path.stem for path in (conf_dir / group).glob("*.yaml"))
        if choice not in allowed:
            listed = ", ".join(allowed) or "none yet"
            problems[group] = f"unknown {group} '{choice}'{_suggest(choice, allowed)}; allowed: {listed}"
    return problems


def _parse(overrides: str, groups: list[str]) -> tuple[list[Override], list[str]]:
    parsed: list[Override] = []
    problems: list[str] = []
    try:
        texts = shlex.split(overrides)
    except ValueError as error:
        return [], [f"overrides cannot be split into words ({error}): {overrides}"]
    for text in texts:
        try:
            override = _parsed(text)
        except HydraException as error:
            problems.append(f"override '{text}' is not of the form key=value: {_first_line(error)}")
            continue
        if override.is_sweep_override():
            problems.append(f"override '{text}' names several values; a run takes one")
        elif override.is_delete() and "." not in override.key_or_group:
            problems.append(f"override '{text}' takes away what every run needs; give '{text[1:]}' a value instead")
        elif override.key_or_group in groups and not isinstance(override.value(), str):
            problems.append(f"override '{text}' does not name one of the choices of '{override.key_or_group}'")
        elif _is_choice(override, groups) and (
            override.package is not None or override.is_add() or override.is_force_add()
        ):
            plain = f"{override.key_or_group}={override.value()}"
            problems.append(f"override '{text}' makes a choice beside the one that a run has; write '{plain}'")
        else:
            parsed.append(override)
    return parsed, problems


# The cells of a sweep, relay and peers of one process say mostly the same, and a word takes half a millisecond to read.
@lru_cache(maxsize=512)
def _parsed(text: str) -> Override:
    return OverridesParser.create().parse_override(text)


def _is_choice(override: Override, groups: list[str]) -> bool:
    return override.key_or_group in groups


def _unknown_path(override: Override, base: DictConfig) -> list[str]:
    if override.is_add() or override.is_force_add():
        return []  # what is added is checked by the part that receives it
    node: Any = base
    for depth, key in enumerate(parts := override.key_or_group.split(".")):
        # Not "key not in node": what a key refers to need not exist, as it is about to be replaced.
        if not isinstance(node, DictConfig) or key not in node.keys():  # noqa: SIM118
            allowed = [str(name) for name in node if name != "_target_"] if isinstance(node, DictConfig) else []
            where = ".".join(parts[:depth]) or "the configuration"
            known = f"; keys of {where}: {', '.join(sorted(allowed))}" if allowed else f"; {where} is a single value"
            return [f"unknown key '{override.key_or_group}'{_suggest(key, allowed)}{known}"]
        if depth + 1 < len(parts):  # a missing value is a leaf here
            node = OmegaConf.select(base, ".".join(parts[: depth + 1]), throw_on_missing=False)
    return []


def _compose(choices: list[str], conf_dir: Path) -> tuple[DictConfig, dict[str, str]]:
    """Return what the choices make, to be read only, and the choice made in each group that has one."""
    folder = conf_dir.resolve()
    return _composed(tuple(choices), folder, _state_of(folder))


def _state_of(conf_dir: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when any file of ``conf/`` does."""
    stats = [(path, path.stat()) for path in sorted(conf_dir.rglob("*.yaml"))]
    return tuple((str(path), stat.st_mtime_ns, stat.st_size) for path, stat in stats)


# Hydra takes a tenth of a second for what the cells of a sweep, relay and peers of one process mostly have in common:
# their choices. So it puts those together, and the values that overrides set come after it, at every time anew.
@lru_cache(maxsize=32)
def _composed(
    choices: tuple[str, ...], conf_dir: Path, state: tuple[tuple[str, int, int], ...]
) -> tuple[DictConfig, dict[str, str]]:
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(config_dir=str(conf_dir), version_base="1.3"):
            composed = compose(config_name="config", overrides=list(choices), return_hydra_config=True)
        named = composed.hydra.runtime.choices.items()
        made = {str(group): str(choice) for group, choice in named if choice and not str(group).startswith("hydra/")}
        with open_dict(composed):
            composed.pop("hydra")
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError([_first_line(error)]) from error
    # A yaml that is none is not Hydra's business; that of a header or of a list of defaults is told as a ValueError.
    except (YAMLError, OSError, ValueError) as error:
        raise ConfigError([f"a file of {conf_dir} cannot be read: {' '.join(str(error).split())}"]) from error
    OmegaConf.set_readonly(composed, True)
    return composed, made


def _suggest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean '{close[0]}'?)" if close else ""


def _unresolved(error: OmegaConfBaseException, made: Mapping[str, str]) -> str:
    """Return what could not be resolved; mostly two choices do not go together, as a network for images and a table."""
    wanted = re.match(r"Interpolation key '(\w+)\.(\w+)' not found", str(error))
    asking = str(error.full_key or "").partition(".")[0]
    if wanted is None or not {asking, wanted[1]} <= made.keys():
        return _first_line(error)
    group, key = wanted.groups()
    return (
        f"{asking} '{made[asking]}' and {group} '{made[group]}' do not go together: the first needs {group}.{key}, "
        f"which the second does not have; choose another {asking} or {group}"
    )


def _first_line(error: Exception) -> str:
    # Hydra wraps what its parts raise, sometimes in an error without any text.
    texts = [str(found).strip() for found in (error, error.__cause__) if found is not None]
    return next((text.splitlines()[0] for text in texts if text), type(error).__name__)
