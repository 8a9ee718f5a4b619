"""A graph of one's own, read from a text file of edges."""

import os
import re
from pathlib import Path

from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.errors import TopologyError


@dataclass(frozen=True, kw_only=True, config=STRICT)
class EdgeList(Topology):
    """The graph in a file with one edge ``a b`` (or ``a,b``) a line: 0-based peer indices, ``#`` starts a comment.

    Attributes:
        path: the file; ``~`` is the home folder. Better absolute: the relay's working folder may not be yours.
        directed: False: a and b exchange. True: only b reads from a.
    """

    path: str = ""
    directed: bool = False

    def draw(self, peers: int, round: int, seed: int) -> set[tuple[int, int]]:
        """Return the file's graph; an error where it cannot be read, breaks the format or names unknown peers."""
        if not self.path:
            raise TopologyError("topology edge_list needs a file: set topology.path=/absolute/path/to/edges.txt")
        path = Path(os.path.expanduser(self.path)).absolute()
        edges = _read(path)
        unknown = sorted({peer for edge in edges.values() for peer in edge if peer >= peers})
        if unknown:
            lines = sorted(number for number, edge in edges.items() if max(edge) >= peers)
            raise TopologyError(
                f"{path} names peers that do not exist: {', '.join(map(str, unknown))} (line "
                f"{', '.join(map(str, lines))}); with {peers} peers the indices are 0..{peers - 1}"
            )
        there = set(edges.values())
        return there if self.directed else there | {(b, a) for a, b in there}


def _read(path: Path) -> dict[int, tuple[int, int]]:
    """Return the edges by line number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not a text file"
        raise TopologyError(f"cannot read the edge list {path}: {reason}; check topology.path") from error
    edges: dict[int, tuple[int, int]] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        ends = re.split(r"\s*,\s*|\s+", content)
        if len(ends) != 2 or not all(re.fullmatch(r"[0-9]{1,9}", end) for end in ends):
            raise TopologyError(
                f"{path}, line {number}: expected two peer indices 'a b' or 'a,b' (0, 1, 2, ...), found {content!r}"
            )
        a, b = int(ends[0]), int(ends[1])
        if a == b:
            raise TopologyError(f"{path}, line {number}: peer {a} is linked to itself; leave self loops out")
        edges[number] = (a, b)
    return edges
