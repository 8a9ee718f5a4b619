"""How long the relay waits for whom."""

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT


@dataclass(frozen=True, kw_only=True, config=STRICT)
class RelaySettings:
    """How long the relay waits for whom.

    Attributes:
        peers: how many peers to wait for; None takes those that are connected when the run starts.
        join_timeout: seconds to wait for that many peers.
        straggler_timeout: seconds after which its neighbours go on without a busy peer.
        repeat_timeout: seconds without an answer after which a connected peer is asked the same again: a device that
            crashes between taking a message and answering it is never reported.
        give_up_timeout: seconds after which a busy peer counts as lost, and one that is away too.

    In a simulation the last three do not apply: messages queue for workers there, and waiting is not being late.
    """

    peers: int | None = Field(default=None, ge=2)
    join_timeout: float = Field(default=60.0, gt=0)
    straggler_timeout: float = Field(default=600.0, gt=0)
    repeat_timeout: float = Field(default=1800.0, gt=0)
    give_up_timeout: float = Field(default=3600.0, gt=0)

    @model_validator(mode="after")
    def _give_up_last(self) -> "RelaySettings":
        if self.give_up_timeout < self.straggler_timeout:
            raise ValueError(
                f"give_up_timeout ({self.give_up_timeout:g} s) must be at least straggler_timeout "
                f"({self.straggler_timeout:g} s)"
            )
        return self
