"""What the events of a reply can say, given what the peer was sent."""

from collections.abc import Collection, Sequence

from dimat_flwr.events import Aligned, Final, Merge, PeerEvent, Rejected
from dimat_flwr.wire.report import ReportError


def require_possible(events: Sequence[PeerEvent], sources: Collection[int], *, is_last: bool) -> None:
    """Refuse events that no peer with these sources can have met: they would hide what others really met.

    Raises:
        ReportError: there is one.
    """
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
            case Final() if not is_last:
                raise ReportError("malformed report: a final in another than the last exchange")
            case _:
                named = set()
        if not named <= set(sources):
            other = min(named - set(sources))
            raise ReportError(f"malformed report: an event names peer {other}, whose payload this peer was not sent")
