"""A model's parameters apart from its buffers, for algorithms whose equations are about parameters alone.

Each parameter goes by one name here, also where the state dict has it under two (tied layers).
"""

from collections.abc import Mapping

from torch import Tensor

from dimat_flwr.algorithms.interface import Peer, StateDict


def trainable(peer: Peer) -> StateDict:
    """Return copies of the parameters that take a gradient, by name."""
    return {name: own.detach().clone() for name, own in peer.model.named_parameters() if own.requires_grad}


def with_parameters(peer: Peer, state: Mapping[str, Tensor], new: Mapping[str, Tensor]) -> StateDict:
    """Return a state dict with new values for some of its parameters, wherever they stand in it."""
    return {**state, **{alias: new[name] for alias, name in _names(peer).items() if name in new}}


def moved_by(peer: Peer, state: Mapping[str, Tensor], step: Mapping[str, Tensor], factor: float = 1.0) -> StateDict:
    """Return a state dict with ``factor * step`` added to its parameters, on the model's device."""
    return with_parameters(peer, state, {name: state[name] + factor * moved for name, moved in step.items()})


def _names(peer: Peer) -> dict[str, str]:
    """Return every name of a parameter in the state dict -> the one that it goes by."""
    first = {id(own): name for name, own in peer.model.named_parameters()}
    return {alias: first[id(own)] for alias, own in peer.model.named_parameters(remove_duplicate=False)}
