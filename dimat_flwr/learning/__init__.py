"""Local training and evaluation: minibatches made on the device, cross entropy, and what came of it."""

from dimat_flwr.learning.batches import Batch, PeerData
from dimat_flwr.learning.device import Precision, autocast, resolve_device
from dimat_flwr.learning.errors import DeviceError, TrainingError
from dimat_flwr.learning.evaluation import Evaluation, evaluate, local_accuracy
from dimat_flwr.learning.gradients import gradient
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.optimizers.base import OptimizerSource
from dimat_flwr.learning.randomness import seeded
from dimat_flwr.learning.training import TrainingResult, train, train_steps

__all__ = [
    "Batch",
    "DeviceError",
    "Evaluation",
    "OptimizerSource",
    "PeerData",
    "Precision",
    "TrainingError",
    "TrainingResult",
    "autocast",
    "evaluate",
    "gradient",
    "in_mode",
    "local_accuracy",
    "resolve_device",
    "seeded",
    "train",
    "train_steps",
]
