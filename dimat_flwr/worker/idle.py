"""The device's own setting of this room."""

from collections.abc import Mapping
from typing import Any

IDLE_KEY = "worker-idle"  # in a SuperNode's --node-config
_IDLE_S = 600.0


def worker_idle(node_config: Mapping[str, Any]) -> float:
    """Return after how many seconds without a message a worker ends; 0 for no worker at all.

    Raises:
        ValueError: the device's configuration says something else.
    """
    said = node_config.get(IDLE_KEY, _IDLE_S)
    if type(said) not in (int, float) or not 0 <= said <= 1e9:
        raise ValueError(
            f"{IDLE_KEY} in --node-config is {said!r}; it is the number of seconds without a message after which the "
            "device's worker ends, and 0 means that there is none"
        )
    return float(said)
