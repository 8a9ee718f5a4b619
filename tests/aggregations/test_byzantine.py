"""`benchmarks/byzantine.py`, small: one liar ruins the mean and not the rules that withstand it."""

from pathlib import Path

import pytest

from benchmarks.byzantine import SMALL, rules, run

PEERS = 5
QUICK = "dataset.train_samples=600 dataset.test_samples=300 batchnorm.samples=100"


@pytest.mark.slow
def test_one_liar_ruins_the_mean_and_not_the_others(tmp_path: Path) -> None:
    def accuracy(attack: str, rule: str) -> float:
        return run(
            PEERS, 1, attack, algorithm="weight_averaging", topology="fully_connected", rounds=2,
            overrides=f"{SMALL} {QUICK} {rules(PEERS, 1)[rule]}", **{"output-dir": str(tmp_path / f"{attack} {rule}")},
        )[0]  # fmt: skip

    unharmed = accuracy("none", "mean")
    assert unharmed > 70
    assert accuracy("flip", "mean") < 30
    for rule in ("clip", "trimmed_mean", "trust, slack 2"):
        assert accuracy("flip", rule) > unharmed - 8, rule
