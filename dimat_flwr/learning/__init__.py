"""Local training and evaluation: minibatches made on the device, the task's loss, and what came of it."""

from dimat_flwr.learning.accounting import Spent, epsilon, spend, steps_taken
from dimat_flwr.learning.batches import Batch, PeerData
from dimat_flwr.learning.device import Precision, autocast, compiler_fault, idle_gpu, resolve_device
from dimat_flwr.learning.errors import DeviceError, PrivacyError, TrainingError
from dimat_flwr.learning.evaluation import Evaluation, evaluate, local_accuracy
from dimat_flwr.learning.gradients import full_gradient, gradient
from dimat_flwr.learning.keystream import Keystream
from dimat_flwr.learning.lr_schedules.base import LrSchedule
from dimat_flwr.learning.mode import in_mode
from dimat_flwr.learning.optimizer_state import restore_optimizer, save_optimizer
from dimat_flwr.learning.optimizers.base import Optimizer, RunningOptimizer
from dimat_flwr.learning.randomness import seeded
from dimat_flwr.learning.training import Correction, TrainingResult, train_epochs, train_steps

__all__ = [
    "Batch",
    "Correction",
    "DeviceError",
    "Evaluation",
    "Keystream",
    "LrSchedule",
    "Optimizer",
    "PeerData",
    "Precision",
    "PrivacyError",
    "RunningOptimizer",
    "Spent",
    "TrainingError",
    "TrainingResult",
    "autocast",
    "compiler_fault",
    "epsilon",
    "evaluate",
    "full_gradient",
    "gradient",
    "idle_gpu",
    "in_mode",
    "local_accuracy",
    "resolve_device",
    "restore_optimizer",
    "save_optimizer",
    "seeded",
    "spend",
    "steps_taken",
    "train_epochs",
    "train_steps",
]
