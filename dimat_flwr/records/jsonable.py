"""Values as JSON takes them: the facts of a run may come as numpy numbers, paths or sets."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dimat_flwr.records.errors import RecordsError


def jsonable(value: Any, where: str = "value") -> Any:
    """Return the value made of dicts, lists, str, int, float, bool and None; NaN and infinities become None.

    Args:
        value: nested mappings, sequences, sets, numpy scalars and arrays, paths and what JSON knows.
        where: how to call the value in an error.

    Raises:
        RecordsError: something within is none of these; the message says where.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, np.generic | np.ndarray):
        return jsonable(value.tolist(), where)
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): jsonable(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return [jsonable(item, where) for item in sorted(value)]
    if isinstance(value, list | tuple):
        return [jsonable(item, f"{where}[{k}]") for k, item in enumerate(value)]
    raise RecordsError(f"{where} is a {type(value).__name__}, which cannot be recorded; pass plain numbers and text")
