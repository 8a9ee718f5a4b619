"""What is used of opacus, the library of differential privacy, without what importing it does to logging.

Importing it takes seconds and brings all of torch's optimizers, so only what a run with privacy needs imports this.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

_handlers = list(logging.getLogger().handlers)

from opacus.accountants import RDPAccountant  # noqa: E402
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent  # noqa: E402
from opacus.grad_sample import GradSampleModule  # noqa: E402
from opacus.optimizers import DPOptimizer  # noqa: E402
from opacus.validators import ModuleValidator  # noqa: E402

# It gives the root logger a handler, by which everybody's lines would come twice.
for _added in [handler for handler in logging.getLogger().handlers if handler not in _handlers]:
    logging.getLogger().removeHandler(_added)

__all__ = [
    "DPOptimizer",
    "GradSampleModule",
    "ModuleValidator",
    "RDPAccountant",
    "compute_rdp",
    "get_privacy_spent",
    "without_warnings",
]

_EXPECTED = (
    "Full backward hook is firing",  # the inputs need no gradient
    "Optimal order is the",  # at the smallest or largest order the bound holds too; another might give a smaller one
)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Leave out what is as it should be."""
    with warnings.catch_warnings():
        for text in _EXPECTED:
            warnings.filterwarnings("ignore", text, UserWarning)
        yield
