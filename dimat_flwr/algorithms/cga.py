"""Cross-gradient aggregation (Esfandiari et al., ICML 2021, https://arxiv.org/abs/2103.02051, Algorithm 1).

Neighbours tell a peer the gradient of their own loss at its model, and it steps so that nobody's loss grows. A round
has two exchanges, models along the graph and gradients back along it. Update at peer i, with the rows of G the
gradients g_j(x_i) that its neighbours j return:

    u   = argmin 1/2 u' G G' u + g_i(x_i)' G' u   over u >= 0        (eq. 6; g = G' u + g_i makes G g >= 0)
    v_i <- b v_i - a (G' u + g_i(x_i))
    x_i <- sum_j W_ij x_j + v_i

``form: dimat_code`` is how the DIMAT paper's code has it: one such problem for every tensor by itself, with
W_ii g_i(x_i) in the place of g_i(x_i), the rows of G W_ij g_j(x_i), u >= 1/2, and then m <- b m + g,
x <- sum_j W_ij x_j - a (g + b m) with g = G' u + W_ii g_i(x_i).

A peer takes one minibatch a round (``training.local_steps: 1``) for its own gradient and all those it returns. Sent: a
state dict and a gradient, in opposite directions of each edge: two models per edge and round. For a gradient that is
missing G has no row; the run ends with the mixture alone.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer, StateDict
from dimat_flwr.algorithms.parameters import moved_by, trainable
from dimat_flwr.algorithms.weight_averaging import average
from dimat_flwr.component import STRICT
from dimat_flwr.topology import Exchange, RoundView, Row, TopologyError
from dimat_flwr.wire.payload import Expected, Payload


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CGA(Algorithm):
    """Average with the neighbours, and step where nobody's loss grows.

    Attributes:
        momentum: b.
        form: ``paper``, or ``dimat_code``: as the code of the DIMAT paper does it.
    """

    momentum: float = Field(default=0.9, ge=0, lt=1)
    form: Literal["paper", "dimat_code"] = "paper"

    takes_any_optimizer: ClassVar[bool] = False
    takes_local_steps: ClassVar[bool] = False
    needs_mean: ClassVar[str] = "the gradients of its second exchange would not be guarded"
    about: ClassVar[About] = About(
        name="Cross-gradient aggregation (CGA)",
        description="neighbours return their gradients at one's model; step where nobody's loss grows",
        paper="Cross-Gradient Aggregation for Decentralized Learning from Non-IID Data, ICML 2021",
        url="https://arxiv.org/abs/2103.02051",
        models_per_edge=2,
    )

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        """Return models out and gradients back; an error where a link goes one way."""
        edges = set(view.mixing.edges)
        if any((reader, source) not in edges for source, reader in edges):
            raise TopologyError("cross-gradients need links that go both ways; choose an undirected graph")
        return (Exchange("models", view.mixing), Exchange("gradients", view.mixing.reversed(), "none"))

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        """Return the model, or to each neighbour the gradient at its model."""
        if exchange == "models":
            return Payload(peer.tensors())
        answers = {j: peer.slot(_answer(j)) for j in peer.readers}
        return {j: Payload(dict(answer), {"round": float(peer.round)}) for j, answer in answers.items() if answer}

    def expects(self, exchange: str, peer: Peer) -> Expected:
        """Return a state dict, or a tensor like each parameter, made of the model that was sent in this round."""
        if exchange == "models":
            return Expected(peer.tensors())
        return Expected(trainable(peer), {"round": (float(peer.round), float(peer.round))})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        """Take all gradients and mix, or step."""
        if exchange == "models":
            self._ask(peer, inbox, row)
        elif not peer.is_last:
            self._step(peer, inbox)
            peer.evaluate("after_training")

    def _ask(self, peer: Peer, inbox: Inbox, row: Row) -> None:
        batch, x = peer.next_batch(), peer.tensors()
        peer.slot("own").update(_decayed(peer, peer.gradient(None, batch), x))
        for j in peer.absent:
            peer.slot(_answer(j)).clear()
        for j, payload in inbox.items():
            answer = _decayed(peer, peer.gradient(payload.tensors, batch), payload.tensors)
            peer.slot(_answer(j)).update(answer)
        peer.slot("row").update({str(j): torch.tensor(weight) for j, weight in row.sources.items()})
        peer.slot("row")["own"] = torch.tensor(row.own)
        peer.adopt(average(peer, inbox, row))
        peer.evaluate("after_merge")

    def _step(self, peer: Peer, inbox: Inbox) -> None:
        g, v, row = peer.slot("own"), peer.slot("velocity"), peer.slot("row")
        others = [payload.tensors for payload in inbox.values()]
        if self.form == "paper":
            along = project(g, others)
            v.update({name: self.momentum * v.get(name, 0) - peer.lr * along[name] for name in g})
            step = dict(v)
        else:
            weights = [float(row[str(j)]) for j in inbox]
            weighted = [{name: w * x[name] for name in g} for w, x in zip(weights, others, strict=True)]
            along = {}
            for name in g:
                along |= project({name: float(row["own"]) * g[name]}, weighted, at_least=0.5)
            v.update({name: self.momentum * v.get(name, 0) + along[name] for name in g})
            step = {name: -peer.lr * (along[name] + self.momentum * v[name]) for name in g}
        peer.adopt(moved_by(peer, peer.state_dict(), step))
        for j in inbox:
            peer.slot(_answer(j)).clear()


def project(g: Mapping[str, Tensor], others: Sequence[Mapping[str, Tensor]], at_least: float = 0.0) -> StateDict:
    """Return G' u + g for the u >= ``at_least`` that minimizes 1/2 u' G G' u + g' G' u, that is |G' u + g|.

    Args:
        g: the peer's gradient by name; the names are those of the problem.
        others: the rows of G, with these names among theirs.
        at_least: the smallest u.

    Raises:
        ArithmeticError: there are rows so unlike in size that the problem is not solved.
    """
    from scipy.optimize import nnls

    rows = [_flat(other, g) for other in others]
    along = _flat(g, g) + at_least * sum(rows, np.zeros(1))
    if rows:
        columns = np.stack(rows, axis=1)
        # (G' u + g) has the same length in a basis of its own columns, where nnls has few rows to work on.
        triangle = np.asarray(np.linalg.qr(np.column_stack([columns, along]), mode="r"))
        try:
            u, _ = nnls(triangle[:, :-1], -triangle[:, -1])
        except RuntimeError as error:
            raise ArithmeticError(f"no step was found along which no loss grows: {error}") from error
        along = along + columns @ u
    pieces = np.split(along, np.cumsum([tensor.numel() for tensor in g.values()])[:-1])
    return {
        name: torch.from_numpy(piece).reshape(tensor.shape).to(tensor)
        for (name, tensor), piece in zip(g.items(), pieces, strict=True)
    }


def _flat(tensors: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> NDArray[np.float64]:
    return np.concatenate([tensors[name].detach().double().cpu().numpy().ravel() for name in names])


def _decayed(peer: Peer, g: Mapping[str, Tensor], x: Mapping[str, Tensor]) -> StateDict:
    """Return the gradients with weight decay, g + decay * x."""
    return {name: gradient + peer.weight_decay * x[name].to(gradient) for name, gradient in g.items()}


def _answer(j: int) -> str:
    return f"answer to {j}"
