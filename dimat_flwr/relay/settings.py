"""How long the relay waits for whom, and what it does about those who come and go."""

from typing import Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RelaySettings:
    """How long the relay waits for whom, and what it does about those who come and go.

    Attributes:
        peers: how many places there are, 0 to peers - 1, and that all are waited for; None: as many as nodes are
            connected at the start.
        min_peers: how many are enough once ``join_timeout`` is over; the other places are vacant then. None: all.
        join: when a node may come into a vacant place, or one whose peer is lost: at the ``start``, or at ``any_time``.
        leavers: what becomes of the graph when a peer is lost: ``redraw``: it is drawn anew over those who are left,
            where the topology can be drawn over so many; ``leave_out``: it stays, and rows are scaled.
        join_timeout: seconds to wait for all peers.
        straggler_timeout: seconds after which its neighbours go on without a busy peer.
        repeat_timeout: seconds without an answer after which a connected peer is asked the same again: a device that
            crashes between taking a message and answering it is never reported. Sooner, where it has done an exchange
            of the same name sooner before: after four times that, a minute at least.
        give_up_timeout: seconds after which a busy peer counts as lost, and one that is away too.

    In a simulation the last three do not apply: messages queue for workers there, and waiting is not being late. Nor
    does anybody come after the start.
    """

    peers: int | None = Field(default=None, ge=2)
    min_peers: int | None = Field(default=None, ge=2)
    join: Literal["start", "any_time"] = "start"
    leavers: Literal["redraw", "leave_out"] = "redraw"
    join_timeout: float = Field(default=60.0, gt=0)
    straggler_timeout: float = Field(default=600.0, gt=0)
    repeat_timeout: float = Field(default=1800.0, gt=0)
    give_up_timeout: float = Field(default=3600.0, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> "RelaySettings":
        if self.give_up_timeout < self.straggler_timeout:
            raise ValueError(
                f"give_up_timeout ({self.give_up_timeout:g} s) must be at least straggler_timeout "
                f"({self.straggler_timeout:g} s)"
            )
        if self.min_peers is not None and (self.peers is None or self.min_peers > self.peers):
            raise ValueError(
                f"min_peers ({self.min_peers}) is how many of peers ({self.peers}) are enough; set peers, and "
                "min_peers to at most as many"
            )
        return self
