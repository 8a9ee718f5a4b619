"""Mutated blobs, instructions and reports: rejected with their own error, or sound. `benchmarks/fuzz.py` does more."""

import pytest

from benchmarks.fuzz import fuzz


@pytest.mark.slow
def test_twenty_thousand_mutations() -> None:
    outcome = fuzz(20_001, seed=3)
    for kind in ("blob", "instruction", "report"):
        assert outcome.counts[f"{kind} refused"] > 3_000  # the mutations bite
        assert outcome.counts[f"{kind} taken"] > 100  # and what they leave sound is taken
