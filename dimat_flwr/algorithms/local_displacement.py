"""How far local training takes a peer, for algorithms that add a local step to something else than where it began."""

from dimat_flwr.algorithms.interface import Peer, StateDict
from dimat_flwr.algorithms.parameters import trainable


def local_displacement(peer: Peer) -> StateDict:
    """Train the peer for the round's local epochs or steps and return x' - x of every parameter.

    With one minibatch and plain SGD that is -a g(x). BatchNorm's statistics and other buffers are not stepped and not
    among them; the peer is left at x'.
    """
    x = trainable(peer)
    peer.train()
    return {name: moved - x[name] for name, moved in trainable(peer).items()}
