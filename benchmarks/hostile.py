"""Let one hostile peer of five answer with random combinations of attacks, run after run, and count what came of it.

python benchmarks/hostile.py SECONDS [SEED]
"""

import logging
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
from flwr.app import RecordDict

from dimat_flwr.records import report_page

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # the catalogue is the tests'

from tests.hostile.attacks import EVERY, EXCHANGE, Act, Turn
from tests.hostile.runs import attacked, check, hostile

_NEEDS_SGP = {name for name, attack in EXCHANGE.items() if attack.algorithms == ("sgp",)}
_FINAL_MERGES = ("none", "uniform", "gossip", "aligned")


def combined(acts: Sequence[Act], rng: random.Random) -> Act:
    """Return an attack that does one to three of ``acts`` in each turn, and sometimes nothing."""

    def act(turn: Turn) -> RecordDict:
        for one in rng.sample(list(acts), rng.randint(0, min(3, len(acts)))):
            try:
                turn.reply = one(turn)
            except Exception:  # noqa: BLE001 - an attack on what an earlier one has destroyed
                continue
        return turn.reply

    return act


def main() -> None:
    """Read the command line."""
    limit, seed = float(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.CRITICAL)
    for plot in ("plot_accuracy", "plot_topology"):
        setattr(report_page, plot, lambda summary, path: path.write_bytes(b""))
    counts: Counter[str] = Counter()
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        while time.perf_counter() - began < limit:
            rng = random.Random(seed)
            algorithm, final_merge, rounds = rng.choice(EVERY), rng.choice(_FINAL_MERGES), rng.randint(1, 4)
            fitting = [name for name in EXCHANGE if algorithm == "sgp" or name not in _NEEDS_SGP]
            harmless = [name for name in fitting if EXCHANGE[name].lost is not True]  # stays in the run for longer
            chosen = rng.sample(harmless if rng.random() < 0.7 else fitting, 6)
            intercept = hostile(combined([EXCHANGE[name].act for name in chosen], rng), seed=seed)
            try:
                run = attacked(Path(folder), intercept, algorithm, rounds=rounds, final_merge=final_merge)
                check(run, lost=None, rounds=rounds + (final_merge != "none"))
            except Exception as error:
                raise SystemExit(f"seed {seed} ({algorithm}, {final_merge}, {chosen}): {error!r}"[:3000]) from error
            events = Counter(event["event"] for event in run.events())
            counts.update(runs=1, **{f"{algorithm} runs": 1}, **{run.summary["status"]: 1})
            counts.update({f"{kind} events": number for kind, number in events.items()})
            seed += 1
    for name, number in sorted(counts.items()):
        print(f"{name:<24} {number:>8,}")
    print(f"{counts['runs']:,} runs in {time.perf_counter() - began:.0f} s; the honest four finished each of them")


if __name__ == "__main__":
    main()
