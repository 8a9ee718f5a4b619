"""What is used of opacus, the library of differential privacy, without what importing it does to logging.

Importing it takes seconds and brings all of torch's optimizers, so only what a run with privacy needs imports this.
"""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

_handlers = list(logging.getLogger().handlers)

from opacus.accountants import RDPAccountant  # noqa: E402
from opacus.accountants.analysis.rdp import compute_rdp, get_privacy_spent  # noqa: E402
from opacus.grad_sample import GradSampleModule, register_grad_sampler  # noqa: E402
from opacus.grad_sample.conv import compute_conv_grad_sample  # noqa: E402
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


@register_grad_sampler(nn.Conv2d)  # type: ignore[untyped-decorator]
def _of_images(layer: nn.Conv2d, activations: list[Tensor], backprops: Tensor) -> Any:
    """Compute each sample's gradient of a convolution as opacus does, of images in whatever order of memory.

    Opacus cuts their patches out as if channels came before rows in memory. Of images in channels-last order it would
    read other places, those of other samples among them: what is clipped then is no sample's gradient.
    """
    return compute_conv_grad_sample(layer, [images.contiguous() for images in activations], backprops)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Leave out what is as it should be."""
    with warnings.catch_warnings():
        for text in _EXPECTED:
            warnings.filterwarnings("ignore", text, UserWarning)
        yield
