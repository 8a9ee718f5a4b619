"""Setting single values of a composed configuration, as Hydra does it after it has put the chosen yamls together."""

import re
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from pydantic import AfterValidator

from dimat_flwr.config.errors import ConfigError


def set_value(composed: DictConfig, override: Override) -> None:
    """Set, add (``+``, ``++``) or take away (``~``) one value in ``composed``.

    Args:
        composed: changed in place; in struct mode, so that a key it does not have can only be added.
        override: a key's; none that makes a choice in a group.

    Raises:
        ConfigError: the value does not go there, there is nothing to take away, or something where one was to be added.
    """
    key, value = override.key_or_group, override.value()
    if override.package is not None:
        raise ConfigError([f"override '{override.input_line}' places a choice, but '{key}' is not a group"])
    if override.is_delete():
        _take_away(composed, override)
        return
    if override.is_add() and not isinstance(value, dict | list):
        there: Any = OmegaConf.select(composed, key, throw_on_missing=False)
        if there is not None:
            remedy = f"leave the + out or put another one before it to replace {there!r}"
            raise ConfigError([f"override '{override.input_line}' adds what is there already; {remedy}"])
    try:
        OmegaConf.update(composed, key, value, merge=True, force_add=override.is_add() or override.is_force_add())
    except OmegaConfBaseException as error:
        told = str(error).splitlines()[0]
        raise ConfigError([f"override '{override.input_line}' does not go where '{key}' is: {told}"]) from error


def worded(pattern: str, what: str) -> AfterValidator:
    """Return what refuses a text that is not all of a regular expression, and says ``what`` it may be in words."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"Input should be {what}")
        return text

    return AfterValidator(check)


def _take_away(composed: DictConfig, override: Override) -> None:
    key, value = override.key_or_group, override.value()
    there: Any = OmegaConf.select(composed, key, throw_on_missing=False)
    if there is None:
        raise ConfigError([f"override '{override.input_line}' takes away what is not there"])
    if value is not None and value != there:
        raise ConfigError([f"override '{override.input_line}' takes away {value!r}, but the value is {there!r}"])
    parent, _, last = key.rpartition(".")
    node = OmegaConf.select(composed, parent) if parent else composed
    with open_dict(composed):
        del node[last]
