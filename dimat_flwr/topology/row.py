"""One peer's row of the mixing matrix: the one type of it from the relay to the algorithm."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Sums = Literal["rows", "columns", "none"]


@dataclass(frozen=True)
class Row:
    """What peer i gives to its own payload and to those of its sources.

    Attributes:
        own: W_ii.
        sources: j -> W_ij for the sources j, ascending; i itself is not among them.
        sums: what holds for the W that this is a row of: ``"rows"``: every row sums to 1 (each peer averages);
            ``"columns"``: every column does (each peer splits its mass, push-sum); ``"none"``: neither is promised.
    """

    own: float
    sources: Mapping[int, float]
    sums: Sums = "rows"

    def restricted_to(self, present: Collection[int]) -> "Row":
        """Return the row over those sources that are ``present`` (the peer itself always is).

        A row of ``"rows"`` is scaled to sum to 1 again. A push-sum row stays as it is: what did not arrive is missing
        from the model and from its weight alike. A peer that gives nothing to itself and has no source left keeps
        what it has: own weight 1.
        """
        kept = {source: weight for source, weight in self.sources.items() if source in present}
        if self.sums != "rows" or len(kept) == len(self.sources):
            return Row(self.own, kept, self.sums)
        total = self.own + sum(kept.values())
        if total <= 0:
            return Row(1.0, dict.fromkeys(kept, 0.0), self.sums)
        return Row(self.own / total, {source: weight / total for source, weight in kept.items()}, self.sums)
