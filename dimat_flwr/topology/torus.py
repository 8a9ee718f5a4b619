"""Torus: a grid whose opposite sides are joined."""

import math

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.errors import TopologyError


@dataclass(frozen=True, kw_only=True, config=STRICT)
class Torus(Topology):
    """Peers on the squarest grid of N = rows x columns, at least 2 of each; each exchanges with its 4 grid neighbours.

    Peer r * columns + c sits in row r, column c. With only 2 rows, up and down are the same neighbour.
    """

    def draw(self, peers: int, round: int, seed: int) -> set[tuple[int, int]]:
        """Return the graph; see the class. A prime number of peers is refused: it fills no grid."""
        rows = _rows(peers)
        if rows is None:
            below = next((n for n in range(peers - 1, 3, -1) if _rows(n)), None)
            above = next(n for n in range(peers + 1, 2 * peers + 1) if _rows(n))
            nearest = f"{below} or {above}" if below else f"{above}"
            raise TopologyError(
                f"a torus needs rows x columns peers with at least 2 of each, and {peers} is prime; "
                f"the nearest numbers of peers that work: {nearest} (or choose topology: ring)"
            )
        columns = peers // rows
        edges = set()
        for peer in range(peers):
            r, c = divmod(peer, columns)
            for neighbour in (((r + 1) % rows) * columns + c, r * columns + (c + 1) % columns):
                edges |= {(peer, neighbour), (neighbour, peer)}
        return edges


def _rows(peers: int) -> int | None:
    """Return the largest divisor of ``peers`` in 2..sqrt(peers), None where there is none."""
    return next((r for r in range(math.isqrt(peers), 1, -1) if peers % r == 0), None)
