"""What can go wrong between a network and its permutations."""


class SymmetryError(ValueError):
    """A permutation, a set of tensors or a network does not fit: the message says what, where and what to do."""


class TraceError(SymmetryError):
    """The network's forward pass could not be turned into a graph."""
