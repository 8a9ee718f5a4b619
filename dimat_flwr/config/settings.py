"""The sections of the configuration that are plain values, not the choice of a part; see ``conf/config.yaml``."""

from typing import Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.learning import Precision
from dimat_flwr.merging import BatchNormPolicy


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingSettings:
    """How a peer trains on its own data.

    Attributes:
        pretrain_epochs: epochs before the first exchange.
        local_epochs: epochs per exchange.
        local_steps: minibatches per exchange instead of ``local_epochs``; None for whole epochs.
        batch_size: samples per minibatch.
        initialization: ``different``: every peer draws its own first weights; ``same``: all start from the same.
        keep_optimizer: keep the optimizer's moments from round to round.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``float32`` or ``bfloat16`` (autocast).
        threads: CPU threads of one peer; 0 leaves torch's own choice.
    """

    pretrain_epochs: int = Field(ge=0)
    local_epochs: int = Field(ge=0)
    local_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(ge=2)
    initialization: Literal["different", "same"]
    keep_optimizer: bool
    device: str = Field(pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Precision
    threads: int = Field(ge=0)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EvaluateSettings:
    """When and how a peer measures its accuracy.

    Attributes:
        every: rounds between evaluations.
        batch_size: samples per batch.
        save_models: write the peer's model to its disk at every evaluation, so that a run that is ended early leaves
            models too; False: at the end only.
    """

    every: int = Field(ge=1)
    batch_size: int = Field(ge=1)
    save_models: bool


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchNormSettings:
    """What happens to BatchNorm statistics when models are mixed; the same for every algorithm.

    Attributes:
        policy: ``recalibrate``: reset and measured anew on the peer's own training inputs; ``average``: mixed like
            weights; ``keep``: the peer's own ones.
        samples: inputs to recalibrate with (all of the peer's if it has fewer).
        batch_size: inputs per batch of the recalibration.
    """

    policy: BatchNormPolicy
    samples: int = Field(ge=2)
    batch_size: int = Field(ge=2)
