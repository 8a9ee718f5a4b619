"""Small algorithms that need what the interface has to carry and the shipped ones do not all use."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from pydantic.dataclasses import dataclass
from torch import Tensor

from dimat_flwr.algorithms.interface import About, Algorithm, Inbox, Outbox, Peer, StateDict
from dimat_flwr.algorithms.weight_averaging import WeightAveraging
from dimat_flwr.component import STRICT
from dimat_flwr.events import Note
from dimat_flwr.topology import Exchange, Mixing, RoundView, Row, Sums
from dimat_flwr.wire.payload import Expected, Payload


def vector(peer: Peer) -> Tensor:
    """Return a known starting value of each peer: (index, index^2)."""
    return torch.tensor([peer.index, peer.index**2], dtype=torch.float64)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyPushSum(Algorithm):
    """Push-sum averaging (Kempe 2003): x and w are mixed by a column-stochastic P, z = x / w is the average.

    Needs a number beside the tensors, state that stays at the peer, and columns that are not rescaled.
    """

    sums: ClassVar[Sums] = "columns"
    about: ClassVar[About] = About("toy push-sum", "", "", "", 1)

    def start(self, peer: Peer) -> None:
        peer.slot("sums").update(x=vector(peer), w=torch.ones((), dtype=torch.float64))

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        return Payload({"x": peer.slot("sums")["x"]}, {"w": float(peer.slot("sums")["w"])})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        sums = peer.slot("sums")
        x, w = row.own * sums["x"], row.own * sums["w"]
        for j, payload in inbox.items():
            x = x + row.sources[j] * payload.tensors["x"]
            w = w + row.sources[j] * payload.numbers["w"]
        sums.update(x=x, w=w)
        peer.record(Note(name="state", values={"z": (x / w).tolist(), "w": float(w)}))

    def expects(self, exchange: str, peer: Peer) -> Expected:
        return Expected({"x": vector(peer)}, {"w": (0.0, float(peer.peers))})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyAskAnswer(Algorithm):
    """Exchange "ask": values out; "answer": to each asker the product of its value and mine, as CGA's gradients.

    Needs two exchanges a round, the second along the reversed graph and without weights, and a payload per reader.
    """

    about: ClassVar[About] = About("toy ask and answer", "", "", "", 2)

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        return (Exchange("ask", view.mixing), Exchange("answer", view.mixing.reversed(), "none"))

    def start(self, peer: Peer) -> None:
        peer.slot("mine")["v"] = vector(peer) + 1

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        mine = peer.slot("mine")["v"]
        if exchange == "ask":
            return Payload({"v": mine})
        return {int(j): Payload({"product": value * mine}) for j, value in peer.slot("asked").items()}

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        if exchange == "ask":
            asked = peer.slot("asked")
            asked.clear()
            asked.update({str(j): payload.tensors["v"] for j, payload in inbox.items()})
            return
        for j, payload in inbox.items():
            peer.record(Note(name="answer", values={"source": j, "product": payload.tensors["product"].tolist()}))

    def expects(self, exchange: str, peer: Peer) -> Expected:
        return Expected({"v" if exchange == "ask" else "product": vector(peer)})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyRelaySums(Algorithm):
    """Relay sums on a tree (RelaySGD, Vogels 2021) without training: to each neighbour the sum of the far side.

    Its payloads are sums of models and its model is their mean: nobody's payload is anybody's model.
    """

    about: ClassVar[About] = About("toy relay sums", "", "", "", 1)

    def start(self, peer: Peer) -> None:
        peer.pretrain()
        peer.slot("own").update(peer.state_dict())

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        return {reader: self._sum(peer, without=reader) for reader in peer.readers}

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        for j, payload in inbox.items():
            peer.slot(f"from {j}").update(payload.tensors)
            peer.slot("counts")[str(j)] = torch.tensor(payload.numbers["count"])

    def model(self, peer: Peer) -> StateDict:
        total = self._sum(peer, without=None)
        return {
            name: tensor / total.numbers["count"] if tensor.is_floating_point() else peer.slot("own")[name]
            for name, tensor in total.tensors.items()
        }

    def expects(self, exchange: str, peer: Peer) -> Expected:
        return Expected(peer.tensors(), {"count": (1.0, float(peer.peers))})

    def _sum(self, peer: Peer, without: int | None) -> Payload:
        tensors, count = dict(peer.slot("own")), 1.0
        for j, far in peer.slot("counts").items():
            if int(j) != without:
                count += float(far)
                tensors = {name: tensor + peer.slot(f"from {j}")[name] for name, tensor in tensors.items()}
        return Payload(tensors, {"count": count})


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyHalf(WeightAveraging):
    """Averaging of compressed models: half the bits, under other names."""

    def publish(self, exchange: str, peer: Peer) -> Outbox:
        return Payload({f"half.{name}": _half(tensor) for name, tensor in peer.state_dict().items()})

    def expects(self, exchange: str, peer: Peer) -> Expected:
        return Expected({f"half.{name}": _half(tensor) for name, tensor in peer.model.state_dict().items()})

    def step(self, exchange: str, peer: Peer, inbox: Inbox, row: Row) -> None:
        opened = {
            j: Payload({name.removeprefix("half."): tensor.float() for name, tensor in payload.tensors.items()})
            for j, payload in inbox.items()
        }
        super().step(exchange, peer, opened, row)


def _half(tensor: Tensor) -> Tensor:
    return tensor.half() if tensor.is_floating_point() else tensor


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyOwnStep(WeightAveraging):
    """An algorithm whose step is its own, so that it would ignore most optimizers."""

    takes_any_optimizer: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyRaises(WeightAveraging):
    """An algorithm whose layout of exchanges is broken."""

    def exchanges(self, view: RoundView) -> Sequence[Exchange]:
        if view.round == 2:
            raise KeyError("no such graph")
        return (Exchange("merge", Mixing.complete(view.peers)),)


@dataclass(frozen=True, kw_only=True, config=STRICT)
class ToyConstant(WeightAveraging):
    """Trains and averages, and calls a network of zeros its model."""

    def model(self, peer: Peer) -> StateDict:
        return {name: torch.zeros_like(tensor) for name, tensor in peer.tensors().items()}
