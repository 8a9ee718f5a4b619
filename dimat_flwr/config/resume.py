"""Going on with a run: where it lies, its configuration with what is new, and what may not be new."""

import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf
from yaml import YAMLError

from dimat_flwr.config.compose import RESUME, VALUES
from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.text import from_yaml

# What a run's numbers do not depend on: how long to wait, and where things lie.
_ELSEWHERE = ("output_dir", "cache_dir", "data_dir", "evaluate.save_models")
_ELSEWHERE_BELOW = ("relay.", "checkpoint.")

Scalars = Mapping[str, Any]


def find_run(run_config: Scalars, conf_dir: Path) -> tuple[str, str] | None:
    """Return output-dir and name of the run that is to be gone on with; None where a run begins.

    Args:
        run_config: Flower's run-config; its ``resume-from`` is the name of a run's folder below output-dir, or a path
            that ends with it.
        conf_dir: the folder ``conf/``.

    Raises:
        ConfigError: it names two places, or no folder of a run.
    """
    wanted = str(run_config.get(RESUME, ""))
    if not wanted:
        return None
    folder, given = Path(wanted), str(run_config.get("output-dir", ""))
    if folder.name in ("", ".."):
        raise ConfigError(
            [f"{RESUME} '{wanted}' names no folder of a run; give its name below output-dir, or its path"]
        )
    if folder.name == wanted.rstrip("/"):
        base = given or str(OmegaConf.load(conf_dir / "config.yaml").output_dir)
        return base, folder.name
    base = str(folder.parent)
    if given and Path(given).expanduser() != Path(base).expanduser():
        raise ConfigError([f"{RESUME} '{wanted}' does not lie in output-dir '{given}'; leave output-dir out"])
    return base, folder.name


def with_news(settings: Scalars, run_config: Scalars) -> dict[str, Any]:
    """Return a run's run-config with what is given now.

    Its ``output-dir`` stays what it was: devices without one of their own have their files there, wherever the relay's
    folder lies now.

    Args:
        settings: the run-config that the run had.
        run_config: that of now; what is empty in it stays as it was, and ``overrides`` are added to the old ones. Its
            values win over those.

    Raises:
        ConfigError: the old overrides are damaged.
    """
    given = {key: value for key, value in run_config.items() if value != "" and key not in (RESUME, "output-dir")}
    old = str(settings.get("overrides", ""))
    try:
        named = {word.lstrip("+").partition("=")[0] for word in shlex.split(old)}
    except ValueError as error:
        raise ConfigError([f"overrides of the run cannot be split into words ({error}): {old}"]) from error
    again = [_override(VALUES[key], value) for key, value in given.items() if VALUES.get(key) in named]
    overrides = " ".join(filter(None, (old, *again, str(given.get("overrides", "")))))
    return {**settings, **given, "overrides": overrides}


def _override(key: str, value: Any) -> str:
    """Return what sets a key to a value in ``overrides``, where Hydra's own quotes stand within a shell's."""
    quoted = QuotedString(value, Quote.single).with_quotes() if isinstance(value, str) else value
    return shlex.quote(f"{key}={quoted}")


def require_same(before: str, now: str) -> None:
    """Refuse to go on with a run under another configuration.

    Args:
        before: the resolved configuration that the run had, as YAML.
        now: that which it would go on with.

    Raises:
        ConfigError: they differ in what its numbers depend on, or that of before is damaged.
    """
    try:
        old, new = flat(before), flat(now)
    except YAMLError as error:
        raise ConfigError(
            [f"config.yaml of the run cannot be read any more; bring a copy back: {' '.join(str(error).split())}"]
        ) from error
    if not isinstance(old.get("rounds"), int):
        raise ConfigError([f"config.yaml of the run is damaged: rounds is {old.get('rounds')!r}; bring a copy back"])
    problems = [
        f"'{key}' was {old.get(key)!r} and would be {new.get(key)!r}"
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and key != "rounds" and not is_elsewhere(key)
    ]
    if problems:
        raise ConfigError(
            [f"a run is gone on with as it was; of its configuration rounds, relay, checkpoint and places of files may "
             f"be new. {problem}" if not number else problem for number, problem in enumerate(problems)]
        )  # fmt: skip


def is_elsewhere(key: str) -> bool:
    """Whether a key of the configuration says only where things lie or how long to wait, and changes no number."""
    return key in _ELSEWHERE or key.startswith(_ELSEWHERE_BELOW) or key.endswith(".data_dir")


def flat(text: str) -> dict[str, Any]:
    """Return a configuration in YAML as key -> value, keys with dots."""
    return dict(_flat(from_yaml(text), ""))


def _flat(values: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(values, dict):
        for key, value in values.items():
            yield from _flat(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, values
