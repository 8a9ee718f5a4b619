"""What the events of a reply can say, given who the peer is and what it was sent."""

from collections.abc import Collection, Sequence

from dimat_flwr.events import Aligned, Consensus, Counterfactual, Final, GradientNorm, Merge, PeerEvent, Rejected
from dimat_flwr.relay.plan import Plan
from dimat_flwr.wire.report import ReportError


def require_possible(events: Sequence[PeerEvent], sources: Collection[int], plan: Plan, number: int, peer: int) -> None:
    """Refuse events that this peer cannot have met in this exchange: they would hide what others really met.

    Args:
        events: what it told.
        sources: whose payloads it was sent.
        plan: the run's exchanges.
        number: of the exchange.
        peer: who told it.

    Raises:
        ReportError: there is one.
    """
    observes = plan[number].handler == "instruments"
    rejected: set[int] = set()
    for event in events:
        match event:
            case Merge(sources=mixed):
                named = set(mixed)
            case Aligned(source=source):
                named = {source}
            case Rejected(source=source) if source not in rejected:
                named = {source}
                rejected.add(source)
            case Rejected(source=source):
                raise ReportError(f"malformed report: the payload of peer {source} is rejected twice")
            case Consensus() | GradientNorm() if not (observes and peer == plan.observer):
                raise ReportError(f"malformed report: '{event.kind}', which the observer alone finds")
            case Counterfactual() if not observes:
                raise ReportError(f"malformed report: '{event.kind}' in an exchange that is not for instruments")
            case Final() if number != plan.last_act:
                raise ReportError("malformed report: a final in another than the last exchange")
            case _:
                named = set()
        if not named <= set(sources):
            other = min(named - set(sources))
            raise ReportError(f"malformed report: an event names peer {other}, whose payload this peer was not sent")
