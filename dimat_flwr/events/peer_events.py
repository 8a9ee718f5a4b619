"""What a peer tells of itself."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, ClassVar, Self

from pydantic import AfterValidator, Field, model_validator
from pydantic.dataclasses import dataclass

from dimat_flwr.events.fields import (
    MAX_GROUPS,
    MAX_LABEL,
    STRICT,
    Figure,
    Index,
    Key,
    Label,
    Percentage,
    Real,
    Reason,
    Seconds,
    Share,
    Stage,
    Value,
    clip,
    stays_below,
)


@dataclass(frozen=True, config=STRICT)
class Evaluation:
    """A peer measured its model on the test set.

    Attributes:
        stage: at which point of the round.
        accuracy: in percent, over all classes; None where the task has none.
        local_accuracy: the same, weighted as the peer's own classes are.
        loss: mean loss per sample; None if it is not finite.
    """

    kind: ClassVar[str] = "evaluation"
    stage: Stage
    accuracy: Percentage
    local_accuracy: Percentage = None
    loss: Figure = None


@dataclass(frozen=True, config=STRICT)
class Training:
    """A peer trained: mean loss over the samples it saw, how many, in how many optimizer steps and seconds."""

    kind: ClassVar[str] = "training"
    loss: Figure
    samples: Index
    steps: Index
    seconds: Seconds


@dataclass(frozen=True, config=STRICT)
class Merge:
    """A peer mixed models: its neighbours' in ``sources``, with ``weights`` (1 + S,), the peer's own first."""

    kind: ClassVar[str] = "merge"
    sources: list[Index]
    weights: list[Real]
    seconds: Seconds

    @model_validator(mode="after")
    def _one_weight_each(self) -> Self:
        if len(self.weights) != len(self.sources) + 1:
            raise ValueError(f"has {len(self.weights)} weights for {len(self.sources)} sources and the peer itself")
        return self


@dataclass(frozen=True, config=STRICT)
class Aligned:
    """A peer aligned a neighbour's model: the share of its units that changed places, in [0, 1]."""

    kind: ClassVar[str] = "aligned"
    source: Index
    units_moved: Share


@dataclass(frozen=True, config=STRICT)
class Rejected:
    """A payload that may not be used, and why."""

    kind: ClassVar[str] = "rejected"
    source: Index
    reason: Reason


@dataclass(frozen=True, config=STRICT)
class Final:
    """What a peer ends with, measured on exactly the tensors that it saved.

    Attributes:
        accuracy: in percent, over all classes.
        local_accuracy: the same, weighted as the peer's own classes are.
        loss: mean loss per sample.
        file: where the tensors are, relative to the run's folder on the peer's machine; empty if they were not saved.
        sha256: of the file, 64 hexadecimal digits; empty if not saved.
        bytes: size of the file.
    """

    kind: ClassVar[str] = "final"
    accuracy: Percentage
    local_accuracy: Percentage = None
    loss: Figure = None
    file: Annotated[Label, AfterValidator(stays_below)] = ""
    sha256: Annotated[str, Field(pattern="^(?:[0-9a-f]{64})?$")] = ""
    bytes: Index = 0


@dataclass(frozen=True, config=STRICT)
class Privacy:
    """What a peer's private training has told of each of its samples so far.

    Attributes:
        epsilon: see ``learning.accounting``; None if there is no bound.
        delta: what it is told for.
        steps: private steps so far.
    """

    kind: ClassVar[str] = "privacy"
    epsilon: Figure
    delta: Share
    steps: Index


@dataclass(frozen=True, config=STRICT)
class Note:
    """An algorithm's own figures: up to 16 numbers, short texts or lists of numbers under a name."""

    kind: ClassVar[str] = "note"
    name: Annotated[str, Field(pattern="^[a-z0-9_]{1,40}$")]
    values: Annotated[dict[Key, Value], Field(max_length=16)]


@dataclass(frozen=True, config=STRICT)
class Counterfactual:
    """What the mean of ``models`` peers' models, which nobody adopts, does at this peer; see ``Evaluation``."""

    kind: ClassVar[str] = "counterfactual"
    accuracy: Percentage
    local_accuracy: Percentage
    loss: Figure
    models: Index


@dataclass(frozen=True, config=STRICT)
class Consensus:
    """How far ``models`` peers' models x_i are from their mean m: sqrt(mean_i |x_i - m|^2), over all parameters."""

    kind: ClassVar[str] = "consensus"
    stage: Stage
    distance: Figure
    models: Index


@dataclass(frozen=True, config=STRICT)
class GradientNorm:
    """The norm of the mean of ``models`` peers' full gradients at the mean of all models."""

    kind: ClassVar[str] = "gradient_norm"
    norm: Figure
    models: Index


@dataclass(frozen=True, config=STRICT)
class UnitsMoved:
    """The share of units that changed places, for each permutation group, as a mean over all that a peer aligned."""

    kind: ClassVar[str] = "units_moved"
    groups: Annotated[dict[Label, Share], Field(max_length=MAX_GROUPS)]

    @classmethod
    def of(cls, shares: Mapping[str, float]) -> Self:
        """Return the event of a network's groups: the first ``MAX_GROUPS``, under the ends of names that are too long.

        Args:
            shares: group -> share, from 0 to 1.
        """
        return cls({clip(group, MAX_LABEL): share for group, share in islice(shares.items(), MAX_GROUPS)})


# What instruments observed; an algorithm tells none of these.
Observed = Counterfactual | Consensus | GradientNorm | UnitsMoved
PeerEvent = Evaluation | Training | Merge | Aligned | Rejected | Final | Privacy | Note | Observed
