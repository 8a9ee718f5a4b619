"""Building one part by itself, for tools that need no whole run."""

import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from dimat_flwr.config.compose import compose_config
from dimat_flwr.config.errors import ConfigError
from dimat_flwr.config.load import build_part
from dimat_flwr.config.parts import GROUPS

T = TypeVar("T")


def build_choice(group: str, name: str, settings: Sequence[str], conf_dir: Path, base: Callable[..., T]) -> T:
    """Return the part of a choice.

    Args:
        group: such as ``topology``.
        name: one of the choices of ``conf/<group>``.
        settings: ``key=value`` each, over the choice's yaml.
        conf_dir: the folder ``conf/``.
        base: the class of such parts.

    Raises:
        ConfigError: there is no such choice, or the settings do not fit it.
    """
    overrides = shlex.join(f"{group}.{setting}" for setting in settings)
    composed = compose_config({group: name, "overrides": overrides}, {}, conf_dir, GROUPS)
    problems: list[str] = []
    built: Any = build_part(group, base, composed.values[group], problems)
    if problems:
        raise ConfigError(problems)
    return built  # type: ignore[no-any-return]
