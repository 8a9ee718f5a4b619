"""A gate before each training: a run goes on when the test says so and not before, however fast the machine is."""

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from pydantic.dataclasses import dataclass
from torch.nn import Parameter

from dimat_flwr.component import STRICT
from dimat_flwr.learning.optimizers.base import RunningOptimizer
from dimat_flwr.learning.optimizers.sgd import Sgd

OPEN, _PASS = "open", "pass-{}"
_AT_MOST_S = 600.0


@dataclass(frozen=True, kw_only=True, config=STRICT)
class GatedSgd(Sgd):
    """Plain SGD, each training of which uses up one of the passes that lie in a folder, or waits for one.

    Attributes:
        gate: the folder; no pass is needed any more once it has a file ``open``. Who waits there has a file ``waits-``
            and the number of its process.
    """

    gate: str

    def build(self, params: Iterable[Parameter]) -> RunningOptimizer:
        """Return the optimizer when there was a pass for it."""
        gate, deadline = Path(self.gate), time.monotonic() + _AT_MOST_S
        while not _passes(gate):
            (gate / f"waits-{os.getpid()}").touch()
            if time.monotonic() > deadline:
                raise TimeoutError(f"no pass in {self.gate}")
            time.sleep(0.01)
        return super().build(params)


def hand_out(gate: Path, passes: int) -> None:
    """Take the passes away that are left, and lay new ones down."""
    gate.mkdir(exist_ok=True)
    for left in gate.glob(_PASS.format("*")):
        left.unlink()
    for number in range(passes):
        (gate / _PASS.format(number)).touch()


def _passes(gate: Path) -> bool:
    if (gate / OPEN).exists():
        return True
    for one in gate.glob(_PASS.format("*")):
        with suppress(FileNotFoundError):  # somebody else was faster
            one.unlink()
            return True
    return False
