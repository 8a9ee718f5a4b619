"""The sections of the configuration that are plain values, not the choice of a part; see ``conf/config.yaml``."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.config.values import worded
from dimat_flwr.learning import Precision
from dimat_flwr.merging import BatchNormPolicy
from dimat_flwr.seeding import Seeds

_Seed = Annotated[int | None, Field(ge=0, lt=2**63)]


@dataclass(frozen=True, kw_only=True, config=STRICT)
class SeedSettings:
    """Seeds of their own for some of what a run draws; None: the run's ``seed``. See ``seeding.Seeds``."""

    data: _Seed
    graph: _Seed
    initialization: _Seed
    order: _Seed

    def filled(self, seed: int) -> Seeds:
        """Return all of them, ``seed`` where there is none."""
        return Seeds(**{kind: seed if own is None else own for kind, own in vars(self).items()})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class TrainingSettings:
    """How a peer trains on its own data.

    Attributes:
        pretrain_epochs: epochs before the first exchange.
        local_epochs: epochs per exchange.
        local_steps: minibatches per exchange instead of ``local_epochs``; None for whole epochs.
        batch_size: samples per minibatch.
        initialization: ``different``: every peer draws its own first weights; ``same``: all start from the same;
            ``file``: from those in ``initialization_file``.
        initialization_file: path of a safetensors file with a state dict of the network, such as a model that another
            run has saved, on the peer's machine; ``{peer}`` in it stands for the peer's place.
        keep_optimizer: keep the optimizer's moments from round to round.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``auto``, ``float32`` or ``bfloat16`` (autocast).
        channels_last: order of the network's tensors in memory: ``auto``: channels last on CUDA if the network works
            so, else as torch makes them; ``always``: channels last on every device.
        compile: train through ``torch.compile``: faster after a minute of compiling in each process, and with other
            rounding and other dropout. Evaluation, and gradients that an algorithm asks for, are not compiled.
        threads: CPU threads of one peer; 0 leaves torch's own choice.
    """

    pretrain_epochs: int = Field(ge=0)
    local_epochs: int = Field(ge=0)
    local_steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(ge=2)
    initialization: Literal["different", "same", "file"]
    initialization_file: str | None = Field(default=None, min_length=1)
    keep_optimizer: bool
    device: Annotated[str, worded(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:N")]
    precision: Precision
    channels_last: Literal["auto", "always"]
    compile: bool
    threads: int = Field(ge=0)

    @model_validator(mode="after")
    def _a_file_where_it_is_read(self) -> Self:
        if (self.initialization == "file") == (self.initialization_file is None):
            raise ValueError(
                f"initialization is '{self.initialization}' and initialization_file is {self.initialization_file!r}; "
                "a file goes with initialization=file, and with nothing else"
            )
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CheckpointSettings:
    """What a peer keeps on its disk after each exchange.

    Attributes:
        save: ``auto``: not in a simulation; ``always``; ``never``.
        dir: the folder that takes a folder for each run; None: the run's own folder below ``output_dir``.
    """

    save: Literal["auto", "always", "never"]
    dir: str | None = Field(min_length=1)


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
class SecuritySettings:
    """Whether payloads are signed and sealed, so that the relay need not be trusted with them.

    Attributes:
        sign: sign every payload, and read no other.
        seal: encrypt it for its readers, too.
        key_file: this peer's identity, on its own machine, made by ``dimat-flwr keys new``; ``{peer}`` in it stands for
            the peer's place. None: only in a simulation, where every peer makes one up.
        known_peers: file with the others' public identities, a line ``place public-key`` each; None: they are taken
            from the relay on first use.
    """

    sign: bool
    seal: bool
    key_file: str | None = Field(default=None, min_length=1)
    known_peers: str | None = Field(default=None, min_length=1)

    @model_validator(mode="after")
    def _nothing_without_a_signature(self) -> Self:
        if not self.sign:
            given = {"seal": self.seal, "key_file": self.key_file, "known_peers": self.known_peers}
            asked = ", ".join(name for name, value in given.items() if value)
            if asked:
                raise ValueError(
                    f"{asked} needs sign=true: without a signature the relay could put its own payload in another's "
                    "place, sealed or not"
                )
        elif self.known_peers is not None and self.key_file is None:
            raise ValueError("known_peers needs key_file: an identity that is made up for a run is known to nobody")
        return self


@dataclass(frozen=True, kw_only=True, config=STRICT)
class PrivacySettings:
    """Differential privacy of each training sample in what leaves its peer; see ``learning.private``.

    Attributes:
        noise_multiplier: standard deviation of the noise divided by ``max_grad_norm``; None: no privacy.
        max_grad_norm: largest norm of the gradient of one sample, to which larger ones are clipped.
        delta: of (epsilon, delta); well below one by the number of a peer's samples.
        secret: whether noise is drawn from the operating system: ``auto``: not in a simulation, where it follows from
            the seed; ``always``.
    """

    noise_multiplier: float | None = Field(gt=0, allow_inf_nan=False)
    max_grad_norm: float = Field(gt=0, allow_inf_nan=False)
    delta: float = Field(gt=0, lt=1)
    secret: Literal["auto", "always"]

    def draws_secretly(self, simulation: bool) -> bool:
        """Whether nobody can make the noise again, so that what is done twice tells of samples twice."""
        return self.noise_multiplier is not None and (self.secret == "always" or not simulation)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BatchNormSettings:
    """What happens to BatchNorm statistics when models are mixed; the same for every algorithm.

    Attributes:
        policy: ``recalibrate``: reset and measured anew on the peer's own training inputs; ``average``: mixed like
            weights; ``keep``: the peer's own ones.
        frozen: train on the running statistics, which no training changes, instead of each minibatch's own, once
            pre-training is over. Not with ``recalibrate``, which measures them for evaluation only.
        samples: inputs to recalibrate with (all of the peer's if it has fewer).
        batch_size: inputs per batch of the recalibration.
    """

    policy: BatchNormPolicy
    frozen: bool
    samples: int = Field(ge=2)
    batch_size: int = Field(ge=2)

    @model_validator(mode="after")
    def _frozen_where_statistics_are_settled(self) -> Self:
        if self.frozen and self.policy == "recalibrate":
            raise ValueError(
                "frozen is true and policy is 'recalibrate', which measures the statistics for evaluation only: "
                "training would run on mixed ones that nobody measured; choose policy=keep or average, or frozen=false"
            )
        return self
