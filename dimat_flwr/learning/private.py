"""Local training with differential privacy: DP-SGD (Abadi et al., CCS 2016, https://arxiv.org/abs/1607.00133).

Of n samples each is taken into a step with probability q = B / n, independently of all others, perhaps none. A step is

    g <- 1/B (sum_i g_i min(1, C / |g_i|) + sigma C z),   z standard normal

with g_i the gradient of one sample's loss, |.| over all parameters, and whatever the optimizer makes of g. What a
correction adds comes after the noise: made of models that are known, it tells nothing more of the samples.

Clipping and noise are opacus'; only the random numbers are not, for which see ``Keystream``. Importing opacus takes
seconds, so this module is imported where a run asks for privacy, and nowhere else.
"""

import time
from dataclasses import dataclass
from math import prod

import numpy as np
import torch
from torch import nn

from dimat_flwr.data import Task
from dimat_flwr.learning.batches import Batch, PeerData
from dimat_flwr.learning.device import Precision, autocast
from dimat_flwr.learning.dp_library import DPOptimizer, GradSampleModule, without_warnings
from dimat_flwr.learning.errors import TrainingError
from dimat_flwr.learning.keystream import Keystream
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.optimizers.base import RunningOptimizer
from dimat_flwr.learning.randomness import reseed, seeded
from dimat_flwr.learning.training import Correction, TrainingResult, correct_gradients


@dataclass(frozen=True)
class Protection:
    """How much a single sample may change what is learned, and how much noise hides that.

    Attributes:
        noise_multiplier: sigma, the noise's standard deviation divided by ``max_grad_norm``.
        max_grad_norm: C, the largest norm of a sample's gradient.
        keystream: draws the samples of each step and the noise.
    """

    noise_multiplier: float
    max_grad_norm: float
    keystream: Keystream


def sampling_rate(samples: int, batch_size: int) -> float:
    """Return q, the probability of each of so many samples to be taken into a step."""
    return min(1.0, batch_size / samples)


def train_privately(
    model: nn.Module,
    data: PeerData,
    optimizer: RunningOptimizer,
    task: Task,
    protection: Protection,
    *,
    steps: int,
    batch_size: int,
    precision: Precision = "auto",
    lr: float | None = None,
    correct: Correction | None = None,
) -> TrainingResult:
    """Train a model in place, in training mode, so that no sample shows; see the module.

    Args:
        model: see ``train_epochs``; one in which ``private_faults`` finds none.
        data: see ``train_epochs``; augmented sample by sample.
        optimizer: see ``train_epochs``.
        task: its loss with ``reduction="sum"`` must be the sum of the samples' own.
        protection: clipping and noise.
        steps: >= 0.
        batch_size: B, samples per step on average; all of them if there are fewer.
        precision: see ``autocast``.
        lr: see ``train_epochs``.
        correct: see ``train_epochs``; it is given gradients with their noise.

    Returns:
        No loss, for that is of samples, and as many samples as are expected.

    Raises:
        TrainingError: a parameter is no number any more; found at the end.
    """
    began = time.perf_counter()
    rate = sampling_rate(len(data), batch_size)
    stream = protection.keystream
    augmentation = torch.Generator()
    private = GradSampleModule(model, loss_reduction="sum")
    clipped = _SecretlyNoised(optimizer, protection, expected_batch_size=rate * len(data))
    if correct is not None:
        clipped.attach_step_hook(lambda _: correct_gradients(model, correct))
    if lr is not None:
        for group in optimizer.param_groups:
            group["lr"] = lr
    try:
        with in_mode(private, training=True), seeded(0, data.device):
            for _ in range(steps):
                taken = torch.from_numpy(np.flatnonzero(stream.uniform(len(data)) <= rate))
                # By the public seed the place of a sample in the batch, which others decide, would choose its mask.
                augmentation.manual_seed(stream.integer())
                reseed(stream.integer(), data.device)
                clipped.zero_grad()
                if len(taken):
                    _differentiate(private, task, data.sampled(taken, augmentation), precision)
                _complete(clipped.params, len(taken))
                clipped.step()
    finally:
        _restore(private, model)
    if steps and not all(bool(own.isfinite().all()) for own in model.parameters()):
        raise TrainingError("parameters became infinite or NaN in private training; try a lower optimizer.lr")
    return TrainingResult(None, round(steps * rate * len(data)), steps, time.perf_counter() - began)


class _SecretlyNoised(DPOptimizer):  # type: ignore[misc]
    """Opacus' optimizer with noise from a keystream, around an optimizer that need not be torch's."""

    def __init__(self, optimizer: RunningOptimizer, protection: Protection, *, expected_batch_size: float) -> None:
        super().__init__(
            optimizer,
            noise_multiplier=protection.noise_multiplier,
            max_grad_norm=protection.max_grad_norm,
            expected_batch_size=expected_batch_size,
        )
        self._keystream = protection.keystream

    def add_noise(self) -> None:
        """Put clipped sums with noise into ``.grad``; added in float64, whose rounding shows nothing in float32."""
        deviation = self.noise_multiplier * self.max_grad_norm
        for own in self.params:
            noise = self._keystream.normal(own.shape).to(own.device)
            own.grad = (own.summed_grad.double() + deviation * noise).to(own.dtype)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Remove all gradients."""
        for own in self.params:
            own.grad_sample = own.summed_grad = None
        self.original_optimizer.zero_grad()


def _differentiate(private: nn.Module, task: Task, batch: Batch, precision: Precision) -> None:
    """Leave every sample's gradient in ``grad_sample``; of a sequence it is that of the mean over its places."""
    inputs, labels = batch
    with without_warnings():
        with autocast(inputs.device, precision):
            scores = private(inputs)
        (task.loss(scores, labels, "sum") / prod(labels.shape[1:])).backward()  # type: ignore[no-untyped-call]


def _complete(parameters: list[nn.Parameter], samples: int) -> None:
    """Give gradients of 0 to what has none, and bound those that are no numbers: clipping would let them through."""
    for own in parameters:
        if getattr(own, "grad_sample", None) is None:
            own.grad_sample = own.new_zeros((samples, *own.shape))  # type: ignore[attr-defined]
        else:
            # In the parameter's own type, in which the norm is as exact as the bound; of what is infinite and becomes
            # the largest number, clipping leaves C.
            own.grad_sample = own.grad_sample.to(own.dtype).nan_to_num()  # type: ignore[attr-defined]


def _restore(private: GradSampleModule, model: nn.Module) -> None:
    """Leave nothing of opacus at a network that all peers of a process share."""
    private.to_standard_module()
    for own in model.parameters():
        own.grad = None
        if hasattr(own, "summed_grad"):
            del own.summed_grad
    for module in model.modules():
        for left in ("activations", "max_batch_len"):  # where a step was broken off
            if hasattr(module, left):
                delattr(module, left)
