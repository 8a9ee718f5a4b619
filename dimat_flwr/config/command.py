"""The command line that makes a run again, for its records."""

import json
import re
import shlex
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def flwr_command(run_config: Mapping[str, Any], pyproject: Path, supernodes: int | None) -> str:
    """Return ``flwr run`` with what differs from the app's defaults.

    Args:
        run_config: the run's Flower run-config.
        pyproject: the app's pyproject.toml, which holds the defaults.
        supernodes: number of simulated SuperNodes, None in a deployment.
    """
    defaults = tomllib.loads(pyproject.read_text())["tool"]["flwr"]["app"]["config"]
    changed = " ".join(
        f"{key}={_toml(value)}" for key, value in run_config.items() if key not in defaults or defaults[key] != value
    )
    federation = f' --federation-config "num-supernodes={supernodes} client-resources-num-cpus=1"' if supernodes else ""
    return f"flwr run . --stream{federation}" + (f" -c {_word(changed)}" if changed else "")


def _toml(value: Any) -> str:
    """Return a value as Flower takes it from a command line: within quotes it knows no escaped ones."""
    if isinstance(value, bool):
        return str(value).lower()
    if not isinstance(value, str):
        return str(value)
    if "'" not in value and value.isprintable():
        return f"'{value}'"
    return '"' + json.dumps(value)[1:-1].replace('\\"', "\\u0022") + '"'


def _word(text: str) -> str:
    """Return a text as one word of a shell's, which leaves all in it as it is."""
    return shlex.quote(text) if "!" in text else '"' + re.sub(r'([\\"$`])', r"\\\1", text) + '"'
