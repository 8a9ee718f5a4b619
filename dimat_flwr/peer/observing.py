"""A peer's part in the instruments: it sends copies of what they look at, and measures what comes back; no more."""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

from dimat_flwr.algorithms.interface import StateDict
from dimat_flwr.events import Consensus, Counterfactual, GradientNorm, Note, Stage, clip
from dimat_flwr.instruments import BEFORE, GRADIENTS, MEAN, MODELS, Instruments, StreamingMean
from dimat_flwr.learning import TrainingError
from dimat_flwr.merging import MergeError
from dimat_flwr.peer.session import Session
from dimat_flwr.peer.state import PeerState
from dimat_flwr.wire.payload import Expected, Payload

# What a model that nobody would adopt may raise when it is measured.
_UNMEASURABLE = (TrainingError, MergeError, ArithmeticError)
# Reads the payloads, which must look as it is told, one by one: source and payload.
Arrived = Callable[[Expected], Iterable[tuple[int, Payload]]]
_COUNT = "models"  # the number beside a mean: of how many models it is one


class Observing:
    """One exchange for instruments at one peer; its model, optimizer and algorithm stay as they are.

    What is needed again in a later exchange lies in the state's ``observed``: the model as it was after the merge, the
    mean and the gradient at it.
    """

    def __init__(self, instruments: Instruments, session: Session, state: PeerState) -> None:
        """Take part on behalf of one peer."""
        self._instruments, self._session, self._state = instruments, session, state

    def publish(self, exchange: str) -> Payload | None:
        """Return what the peer sends for an exchange; None where it has nothing to send."""
        if exchange == MODELS:
            return Payload(self._model())
        if exchange == BEFORE:
            return Payload(floats(self._session.counted()))
        # The mean is kept, for the observer measures it too.
        numbers, tensors = (
            ({_COUNT: self._count()}, self._kept("mean")) if exchange == MEAN else ({}, self._take("gradient"))
        )
        return Payload(tensors, numbers) if tensors else None

    def step(self, exchange: str, arrived: Arrived) -> None:
        """Look at what arrived, and record what there is to see; what cannot be measured is recorded as a warning."""
        try:
            if exchange == MEAN:
                self._look_at_mean(arrived)
            elif self._session.index == self._instruments.observer:
                if exchange == GRADIENTS:
                    self._look_at_gradients(arrived)
                else:
                    self._look_at_models(exchange, arrived)
        except _UNMEASURABLE as error:
            text = clip(f"{exchange} cannot be measured: {error}", 200)
            self._session.record(Note(name="warning", values={"of": "instruments", "text": text}))

    def _look_at_models(self, exchange: str, arrived: Arrived) -> None:
        own = self._model() if exchange == MODELS else floats(self._session.counted())
        mean = StreamingMean(apart=[name for name, _ in self._session.model.named_parameters()])
        self._take_in(mean, own, arrived)
        if self._instruments.consensus:
            merged = exchange == MODELS and self._session.round > 0
            stage: Stage = "after_merge" if merged else "after_training"
            self._session.record(Consensus(stage=stage, distance=mean.distance(), models=mean.count))
        if exchange == MODELS and (self._instruments.counterfactual or self._instruments.gradient):
            self._keep("mean", {name: tensor.to(own[name].dtype) for name, tensor in mean.mean().items()})
            self._state.observed[_COUNT] = torch.tensor(mean.count)

    def _look_at_mean(self, arrived: Arrived) -> None:
        mean, count = self._take("mean"), self._count()
        expected = Expected(floats(self._session.tensors()), {_COUNT: (1.0, float(self._session.peers))})
        for _, payload in arrived(expected):
            mean, count = dict(payload.tensors), payload.numbers[_COUNT]
        self._state.observed.clear()
        if not mean:
            return  # the observer is gone
        if self._instruments.gradient:
            self._keep("gradient", self._session.full_gradient(mean))
        if self._instruments.counterfactual:
            accuracy, local, loss = self._session.figures_of(mean)
            found = Counterfactual(accuracy=accuracy, local_accuracy=local, loss=loss, models=int(count))
            self._session.record(found)

    def _look_at_gradients(self, arrived: Arrived) -> None:
        own, mean = self._take("gradient"), StreamingMean()
        if not own:
            return  # it could not be measured here, and a warning said so
        self._take_in(mean, own, arrived)
        norm = float(torch.stack([tensor.square().sum() for tensor in mean.mean().values()]).sum().sqrt())
        self._session.record(GradientNorm(norm=norm, models=mean.count))

    def _take_in(self, mean: StreamingMean, own: StateDict, arrived: Arrived) -> None:
        """Add the peer's own tensors and those that arrived, of which only one set at a time is in memory."""
        mean.add(own)
        for _, payload in arrived(Expected(own)):
            mean.add(payload.tensors)
            del payload

    def _model(self) -> StateDict:
        """Return the model to observe: as it was after the round's merge, or as it is where there was none."""
        return self._take("merged") or floats(self._session.counted())

    def _keep(self, what: str, tensors: Mapping[str, Tensor]) -> None:
        self._state.observed |= {f"{what}/{name}": tensor.cpu() for name, tensor in tensors.items()}

    def _kept(self, what: str) -> StateDict:
        start = f"{what}/"
        return {key.removeprefix(start): t for key, t in self._state.observed.items() if key.startswith(start)}

    def _take(self, what: str) -> StateDict:
        found = self._kept(what)
        for name in found:
            del self._state.observed[f"{what}/{name}"]
        return found

    def _count(self) -> float:
        return float(self._state.observed.get(_COUNT, torch.tensor(0)))


def floats(tensors: Mapping[str, Tensor]) -> StateDict:
    """Return the floating-point tensors among them: of counters there is no mean."""
    return {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
