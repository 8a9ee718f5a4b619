"""The gradients of a round's local steps, for algorithms that do more with them than to step along them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from dimat_flwr.algorithms.interface import Peer, StateDict
from dimat_flwr.algorithms.parameters import trainable, with_parameters


def local_gradient(peer: Peer) -> StateDict:
    """Return the sum of the gradients of the round's local epochs or steps with plain SGD from the peer's x.

    With one minibatch that is g(x), weight decay included; with H steps it is (x - x') / a, without the rounding of
    that difference. The peer is left at x; BatchNorm's statistics have taken note of the steps.
    """
    before = trainable(peer)
    total: StateDict = {}

    def note(x: Mapping[str, Tensor], g: dict[str, Tensor]) -> dict[str, Tensor]:
        used = torch._foreach_add([*g.values()], [x[name] for name in g], alpha=peer.weight_decay)
        for name, gradient in zip(g, used, strict=True):
            total[name] = total[name] + gradient if name in total else gradient
        return g

    peer.train(note)
    peer.adopt(with_parameters(peer, peer.state_dict(), before))
    # Without a single local step there is nothing to add up.
    return total or {name: torch.zeros_like(tensor) for name, tensor in before.items()}
