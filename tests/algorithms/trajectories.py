"""Runs of an algorithm on quadratics through the whole relay and peer, with every peer's state after every exchange."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from flwr.app import RecordDict
from numpy.typing import NDArray

from dimat_flwr.launch import launch
from dimat_flwr.local import LocalPost
from dimat_flwr.peer.state import PeerState, load_state
from dimat_flwr.relay import run_relay
from dimat_flwr.wire import names
from dimat_flwr.wire.report import Report
from tests.algorithms.quadratics import FEATURES, ROWS, rows_of
from tests.in_process_app import ROOT, Run

Vector = NDArray[np.float64]
QUADRATICS = (
    "dataset._target_=tests.algorithms.quadratics.Quadratics model._target_=tests.algorithms.quadratics.Residuals "
    "training.pretrain_epochs=0 training.local_steps=1 training.batch_size=100 evaluate.every=1000 "
    "evaluate.save_models=false"
)
LR = 0.1
ROUNDS = 20


class _Watched(LocalPost):
    """A post that keeps a copy of each peer's state after each exchange."""

    def __init__(self, peers: int, settings: dict[str, Any], lost: Collection[tuple[int, int]]) -> None:
        super().__init__(peers, settings, ROOT / "conf")
        self.seen: list[list[PeerState]] = [[] for _ in range(peers)]
        self.lost = lost

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        reply = super().answer(peer, kind, content)
        if kind == names.EXCHANGE_MESSAGE:
            self.seen[peer].append(load_state(self._states[peer]))
            if (peer, -len(self.seen[peer])) in self.lost:
                return RecordDict({names.REPORT: Report(error="pulled the plug").to_record()})
            if (peer, len(self.seen[peer])) in self.lost:
                return RecordDict({names.REPORT: reply[names.REPORT]})
        return reply


@dataclass
class Trajectory:
    """What became of every peer.

    Attributes:
        x: (exchanges + 1, N, 3): all parameters of every peer after every exchange, the start first; NaN for the
            exchanges after which a peer had failed.
        states: peer -> exchange -> its state.
        run: the run's folder.
    """

    x: Vector
    states: list[list[PeerState]]
    run: Run = field(repr=False)

    def slot(self, name: str, exchange: int) -> Vector:
        """Return an algorithm's tensors of a slot as (N, 3)."""
        return np.stack([flat(states[exchange].slots[name]) for states in self.states])


def flat(tensors: Any) -> Vector:
    """Return slope and offset in one vector."""
    return np.concatenate([tensors["slope"].double().numpy(), tensors["offset"].double().numpy()])


def trajectory(
    folder: Path,
    algorithm: str,
    graph: "Graph",
    *,
    rounds: int = ROUNDS,
    overrides: str = "",
    lost: Collection[tuple[int, int]] = (),
    **run_config: Any,
) -> Trajectory:
    """Run an algorithm, one exact gradient a round unless ``overrides`` say otherwise.

    Args:
        folder: for results.
        algorithm: the choice.
        graph: and number of peers.
        rounds: how many.
        overrides: of the configuration.
        lost: (peer, exchange) where nobody gets what the peer publishes for exchange 1, 2, ...; (peer, -exchange)
            where the peer fails before it.
        run_config: Flower's.
    """
    settings = {
        "algorithm": algorithm, "topology": graph.topology, "partition": "classes", "rounds": rounds,
        "optimizer": "sgd", "output-dir": str(folder / "out"),
        "overrides": f"{QUADRATICS} {graph.overrides} dataset.num_classes={graph.peers} optimizer.lr={LR} {overrides}",
    } | run_config  # fmt: skip
    post = _Watched(graph.peers, settings, lost)
    run = Run(launch(settings, ROOT / "conf", "pytest", lambda *arguments: run_relay(post, *arguments)))
    failed = {peer for peer, exchange in lost if exchange < 0}
    assert {event["peer"] for event in run.events("failure")} == failed, run.events("failure")
    assert bool(run.events("rejected")) == any(exchange > 0 for _, exchange in lost)
    for states in post.seen:
        assert {str(state.model["seen"].dtype) for state in states} == {"torch.int64"}
    longest = max(len(states) for states in post.seen)
    x = np.full((longest, graph.peers, FEATURES), np.nan)
    for peer, states in enumerate(post.seen):
        x[: len(states), peer] = [flat(state.model) for state in states]
    return Trajectory(x, post.seen, run)


def assert_follows(found: Trajectory, expected: Sequence[Vector], atol: float = 1e-9) -> None:
    """Assert that every peer's model is what it should be after every exchange."""
    assert found.x.shape == (len(expected), *expected[0].shape)
    for exchange, x in enumerate(expected):
        np.testing.assert_allclose(found.x[exchange], x, rtol=0, atol=atol, err_msg=f"after exchange {exchange}")
    assert np.abs(found.x[-1] - found.x[0]).max() > 0.1, "something must have moved for this to show anything"


def gradients(x: Vector) -> Vector:
    """Return g_i(x_i) for every peer, (N, 3)."""
    return np.stack([gradient(i, x[i]) for i in range(len(x))])


def gradient(i: int, x: Vector) -> Vector:
    """Return the gradient of f_i."""
    z, y = rows_of(i)
    return z.T @ (z @ x - y) / ROWS


def optimum(peers: int) -> Vector:
    """Return what minimizes the mean of all f_i."""
    z, y = (np.concatenate(parts) for parts in zip(*(rows_of(i) for i in range(peers)), strict=True))
    return np.linalg.lstsq(z, y, rcond=None)[0]


# Mixing matrices, written down once more: W[i, j] is what i gives to j.

IRREGULAR = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2)]  # of 4 peers: strongly connected, not balanced
LINKS = [(0, 1), (1, 2), (2, 3), (3, 0), (0, 2), (3, 4)]  # of 5 peers: no regular graph
TREE = [(0, 1), (1, 2), (1, 3), (3, 4)]


@dataclass(frozen=True)
class Graph:
    """A graph for a run, and W of each round."""

    peers: int
    topology: str
    overrides: str
    w: Callable[[int], Vector]


def graph(name: str, folder: Path) -> Graph:
    """Return a graph by its name; a file of edges is written into the folder."""

    def listed(edges: list[tuple[int, int]], peers: int, directed: bool, weighting: str, w: Vector) -> Graph:
        path = folder / "edges"
        path.write_text("".join(f"{a} {b}\n" for a, b in edges))
        settings = f"topology.path={path} topology.directed={directed} topology.weighting={weighting}"
        return Graph(peers, "edge_list", settings, lambda _: w)

    match name:
        case "ring":
            return Graph(5, "ring", "", lambda _: ring(5))
        case "full":
            return Graph(4, "fully_connected", "", lambda _: np.full((4, 4), 1 / 4))
        case "alternating":
            target = "topology._target_=tests.algorithms.quadratics.Alternating"
            return Graph(6, "ring", target, lambda round: alternating(6, round))
        case "irregular":
            return listed(IRREGULAR, 4, True, "auto", by_rows(4, IRREGULAR))
        case "irregular columns":
            return listed(IRREGULAR, 4, True, "auto", by_columns(4, IRREGULAR))
        case "metropolis":
            return listed(LINKS, 5, False, "metropolis_hastings", metropolis(5, LINKS))
        case "tree":
            return listed(TREE, 5, False, "auto", by_rows(5, TREE + [(b, a) for a, b in TREE]))
    raise ValueError(name)


def ring(n: int) -> Vector:
    """Return 1/3 for oneself and both neighbours."""
    return (np.eye(n) + np.roll(np.eye(n), 1, axis=0) + np.roll(np.eye(n), -1, axis=0)) / 3


def alternating(n: int, round: int) -> Vector:
    """Return 1/2 for oneself and the round's partner; n is even."""
    w = np.eye(n) / 2
    for k in range(round % 2, n - 1 + round % 2, 2):
        w[k, (k + 1) % n] = w[(k + 1) % n, k] = 0.5
    return w


def by_rows(n: int, edges: list[tuple[int, int]]) -> Vector:
    """Return the average over oneself and one's sources; edges are (source, reader)."""
    w = np.eye(n)
    for source, reader in edges:
        w[reader, source] = 1
    return w / w.sum(axis=1, keepdims=True)


def by_columns(n: int, edges: list[tuple[int, int]]) -> Vector:
    """Return equal shares of each source's mass for itself and its readers."""
    w = np.eye(n)
    for source, reader in edges:
        w[reader, source] = 1
    return w / w.sum(axis=0, keepdims=True)


def metropolis(n: int, links: list[tuple[int, int]]) -> Vector:
    """Return Metropolis-Hastings weights of undirected links."""
    a = np.zeros((n, n))
    for p, q in links:
        a[p, q] = a[q, p] = 1
    degree = a.sum(axis=1)
    w = a / (1 + np.maximum.outer(degree, degree))
    return w + np.diag(1 - w.sum(axis=1))
