"""Folders of sweeps, as the command ``dimat-flwr sweep`` leaves them, with runs that need no training."""

import itertools
import json
from datetime import datetime
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np

from dimat_flwr.events import Evaluation, Failure, Final, Stamped
from dimat_flwr.records import RunFolder, run_folder

AXES = {"algorithm": ["dimat", "weight_averaging"], "partition": ["iid", "classes"], "seed": [0, 1, 2]}


def final_accuracy(number: int, seed: int) -> float:
    """What the runs of the ``number``-th setting end with."""
    return 50.0 + 2 * number + seed


def write_run(folder: Path, final: float, *, rounds: int = 4, peers: int = 3, lose: bool = False) -> None:
    """Write the record of a run whose accuracy after the merge rises to ``final``."""
    run = RunFolder.create(folder.parent, "run", datetime(2026, 1, 1))
    run.describe({"algorithm": "x", "topology": "ring", "dataset": "digits", "peers": peers, "edges": [],
                  "spectral_gap": None})  # fmt: skip
    rng = np.random.default_rng(int(final * 100))
    for number in range(1, rounds + 1):
        level = final * (1 - 0.6 ** (1 + number)) / (1 - 0.6 ** (1 + rounds))
        for peer in range(peers):
            told = float(np.clip(level + (rng.normal() if number < rounds else 0.0), 0, 100))
            run.event(Stamped(Evaluation("after_merge", told), number, peer, "merge"))
            run.edge_bytes(number, "merge", peer, (peer + 1) % peers, 250_000)
            run.answered(number, "merge", peer, 1.0, 0.8, 0.3, 0.2)
    if lose:
        run.event(Stamped(Failure("<b>lost</b> | *gone*"), rounds, 0, "merge"))
    for peer in range(peers):
        run.event(Stamped(Final(final), rounds, peer, "merge"))
    with patch.object(
        run_folder, "draw_report", lambda *story: []
    ):  # takes most of the time, and is looked at elsewhere
        run.finish("completed")
    run.path.rename(folder)


def write_sweep(
    folder: Path, axes: dict[str, list[Any]] = AXES, rounds: int = 4, odd: dict[int, str] | None = None, **told: Any
) -> Path:
    """Write a sweep of all combinations; the cells' numbers in ``odd`` are failed, pending, running or lost a peer."""
    (folder / "cells").mkdir(parents=True)
    keys, odd = list(axes), odd or {}
    settings: dict[tuple[Any, ...], int] = {}
    cells = []
    for number, values in enumerate(itertools.product(*axes.values())):
        named = dict(zip(keys, values, strict=True))
        seed = named.get("seed", 0)
        setting = settings.setdefault(tuple(value for key, value in named.items() if key != "seed"), len(settings))
        status = odd.get(number, "completed")
        where = f"cells/{number:024x}"
        if status in ("completed", "lost"):
            write_run(folder / where, final_accuracy(setting, seed), rounds=rounds, lose=status == "lost")
        cells.append(
            {"id": f"{number:024x}", "folder": where, "values": {"peers": 3, **named},
             "status": "completed" if status == "lost" else status,
             "reason": "Traceback\n  <i>line</i>\nValueError: no | <script>" if status == "failed" else None,
             "seconds": 12.5 if status == "completed" else None, "memory_bytes": 8e8, "gpu_bytes": None}
        )  # fmt: skip
    whole = {"name": "toy", "scale": "small", "title": "a <toy> | of a sweep", "command": "dimat-flwr sweep toy 'a<b'",
             "axes": axes, "fixed": {"peers": 3}, "cells": cells, "paper": []}  # fmt: skip
    (folder / "sweep.json").write_text(json.dumps({**whole, **told}))
    return folder
