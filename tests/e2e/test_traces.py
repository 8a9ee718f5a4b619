"""The search for models in files, against files that were made to have them or not."""

import numpy as np
from safetensors.numpy import save

from tests.e2e.traces import WINDOW, count_in, windows_of

RNG = np.random.default_rng(3)


def test_windows_are_found_wherever_they_begin_and_nowhere_else() -> None:
    model = RNG.standard_normal(100).astype(np.float32)
    needles = windows_of([save({"x": model})])
    assert len(needles) == 97
    noise = RNG.bytes(20_000)
    assert count_in(needles, [noise]) == 0
    for shift in range(9):
        piece = model.tobytes()[40 : 40 + WINDOW]
        assert count_in(needles, [noise[: 5000 + shift] + piece + noise]) == 1
        assert count_in(needles, [noise[: 5000 + shift] + piece[:-1] + noise]) == 0
    assert count_in(needles, [noise, model.tobytes()]) == 97
    assert count_in(needles, [b"", b"abc"]) == 0


def test_what_is_found_in_anything_is_not_looked_for() -> None:
    empty = save({"zeros": np.zeros(50, np.float32), "ones": np.ones(50, np.float32), "count": np.arange(50)})
    assert len(windows_of([empty])) == 0
    assert count_in(windows_of([empty]), [b"\0" * 100]) == 0


def test_half_a_file_counts_for_nothing() -> None:
    whole = save({"x": RNG.standard_normal(100)})
    assert len(windows_of([whole[: len(whole) // 2]])) == 0
    assert len(windows_of([whole])) == 99
