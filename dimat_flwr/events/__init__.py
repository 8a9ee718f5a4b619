"""What can happen in a run: the one vocabulary of peers, relay, records and progress.

Peers tell ``peer_events`` in their reports, the relay alone tells ``relay_events``. A peer's events arrive as bytes
that nobody vouches for: ``decode_events`` returns typed events or raises ``EventError``, whatever the bytes. Limits
hold for every field, so that no single report can weigh more than ``MAX_REPORT_BYTES``.
"""

from dimat_flwr.events.fields import (
    MAX_ERROR,
    MAX_EVENTS,
    MAX_FIGURE,
    MAX_INTEGER,
    MAX_REASON,
    MAX_REPORT_BYTES,
    STAGES,
    Absence,
    Stage,
    clip,
    is_clean,
)
from dimat_flwr.events.lines import Event, EventError, Stamped, decode_events, encode_events, to_json
from dimat_flwr.events.peer_events import (
    Aligned,
    Consensus,
    Counterfactual,
    Evaluation,
    Final,
    GradientNorm,
    Merge,
    Note,
    Observed,
    PeerEvent,
    Privacy,
    Rejected,
    Training,
    UnitsMoved,
)
from dimat_flwr.events.relay_events import Absent, Away, CaughtUp, Failure, Late, Muted, Resumed, Returned

__all__ = [
    "MAX_ERROR",
    "MAX_EVENTS",
    "MAX_FIGURE",
    "MAX_INTEGER",
    "MAX_REASON",
    "MAX_REPORT_BYTES",
    "STAGES",
    "Absence",
    "Absent",
    "Aligned",
    "Away",
    "CaughtUp",
    "Consensus",
    "Counterfactual",
    "Evaluation",
    "Event",
    "EventError",
    "Failure",
    "Final",
    "GradientNorm",
    "Late",
    "Merge",
    "Muted",
    "Note",
    "Observed",
    "PeerEvent",
    "Privacy",
    "Rejected",
    "Resumed",
    "Returned",
    "Stage",
    "Stamped",
    "Training",
    "UnitsMoved",
    "clip",
    "decode_events",
    "encode_events",
    "is_clean",
    "to_json",
]
