"""Averaging after activation matching, as DIMAT does every round and the final merge ``aligned`` once."""

from collections.abc import Mapping, Sequence
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass
from torch import Tensor, nn

from dimat_flwr.algorithms.alignment_record import record_warnings
from dimat_flwr.algorithms.interface import Inbox, Outbox, Peer
from dimat_flwr.algorithms.merge_and_train import MergeAndTrain
from dimat_flwr.component import STRICT
from dimat_flwr.merging import Statistic, Taps, align_and_mix, match_activations, running_statistics
from dimat_flwr.symmetry import Permutation
from dimat_flwr.topology import Row
from dimat_flwr.wire.payload import Payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ActivationMatching:
    """How neighbours' units are matched with a peer's own.

    Attributes:
        samples: inputs to match on (all of the peer's if it has fewer).
        batch_size: inputs per forward pass.
        statistic: ``correlation`` (the paper's code) or ``covariance`` of activations.
        taps: match on the sum over all places where a group's units are visible, or on the ``last`` one.
        stickiness: keep a group's order unless the best one gains more than this share of its score.
        early_stop: stop reading inputs once a batch changed the places of at most this share of the units, after the
            second at the earliest; None: read all.
        repair: restore the hidden units' variance after averaging (REPAIR), for networks without BatchNorm.
        match_data: ``local``: the peer's own inputs; ``pooled``: all peers' inputs, as the paper's code does. Only a
            simulation has those, and it is there for comparison: it breaks the rule that data stay with their peer.
    """

    samples: int = Field(default=500, ge=2)
    batch_size: int = Field(default=250, ge=2)
    statistic: Statistic = "correlation"
    taps: Taps = "all"
    stickiness: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    early_stop: float | None = Field(default=None, ge=0, lt=1)
    repair: bool = False
    match_data: Literal["local", "pooled"] = "local"

    @model_validator(mode="after")
    def _something_left_to_stop_before(self) -> Self:
        if self.early_stop is not None and self.samples <= 2 * self.batch_size:
            raise ValueError(
                f"early_stop looks at the units after every batch and can end with the second, but {self.samples} "
                f"samples in batches of {self.batch_size} are no more than two; set batch_size to a tenth of samples"
            )
        return self

    def aligned_average(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return sum_j W_ij P_ij x_j, with P_ij by activation matching and P_ii = I, and record what moved.

        With another aggregation than the mean it is that of the aligned models.
        """
        record_warnings(peer)
        mixed = align_and_mix(
            peer.model,
            peer.state_dict(settled=True),
            [payload.tensors for payload in inbox.values()],
            [row.own, *(row.sources[j] for j in inbox)],
            spec=peer.spec,
            batches=self._inputs(peer),
            method="activation",
            repair=self.repair,
            statistic=self.statistic,
            taps=self.taps,
            stickiness=self.stickiness,
            early_stop=self.early_stop,
            mix=lambda own, aligned: peer.aggregate(own, zip(inbox, aligned, strict=True), row),
        )
        for j, order in zip(inbox, mixed.permutations, strict=True):
            peer.aligned(j, order)
        return mixed.state

    def order_like(self, peer: Peer, theirs: Mapping[str, Tensor]) -> Permutation:
        """Return the order of the peer's own units in which they act most like another model's on the peer's data."""
        return match_activations(
            peer.model,
            theirs,
            peer.state_dict(settled=True),
            peer.spec,
            self._inputs(peer),
            statistic=self.statistic,
            taps=self.taps,
            stickiness=self.stickiness,
            early_stop=self.early_stop,
        )

    def _inputs(self, peer: Peer) -> Sequence[Tensor]:
        return peer.matching_inputs(self.samples, self.batch_size, pooled=self.match_data == "pooled")

    def faults(self, model: nn.Module) -> Sequence[str]:
        """Return why the settings do not fit a network; see ``Algorithm.faults``."""
        if self.repair and running_statistics(model):
            return ["matching.repair is for networks without BatchNorm: its recalibration does the same; set it false"]
        return ()


@dataclass(frozen=True, kw_only=True, config=STRICT)
class MergesByMatching(MergeAndTrain):
    """Base of what averages models after activation matching.

    Attributes:
        matching: how units are matched.
    """

    matching: ActivationMatching = Field(default_factory=ActivationMatching)

    @property
    def needs_mean(self) -> str:
        """Why no aggregation but the mean will do with REPAIR."""
        return "matching.repair restores the variance of the mean; set it false" if self.matching.repair else ""

    @property
    def pools_data(self) -> bool:
        """Whether the matching looks at other peers' samples."""
        return self.matching.match_data == "pooled"

    def merge(self, peer: Peer, inbox: Inbox, row: Row) -> Mapping[str, Tensor]:
        """Return sum_j W_ij P_ij x_j."""
        return self.matching.aligned_average(peer, inbox, row)

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return the model with statistics that are true of it: its readers will run it to match their units."""
        return Payload(peer.state_dict(settled=True))

    def faults(self, model: nn.Module) -> Sequence[str]:
        """Return why the matching does not fit a network."""
        return self.matching.faults(model)
