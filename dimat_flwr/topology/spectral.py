"""The spectral gap: how fast repeated mixing brings the peers together."""

import numpy as np
from numpy.typing import NDArray

from dimat_flwr.topology.errors import TopologyError


def spectral_gap(matrix: NDArray[np.float64]) -> float:
    """Return 1 - |lambda_2| of a stochastic matrix: 1 mixes in one exchange, 0 never (Boyd et al. 2006, section 3).

    Args:
        matrix: shape (N, N), rows or columns summing to 1; for a time-varying graph, the product over one period.

    Raises:
        TopologyError: the matrix is not square.
    """
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise TopologyError(f"the spectral gap is that of a square matrix, not of shape {matrix.shape}")
    # A symmetric matrix takes a tenth of the time; 1e-12 apart, its eigenvalues are no further from the true ones.
    symmetric = np.allclose(matrix, matrix.T, rtol=0, atol=1e-12)
    moduli = np.sort(np.abs(np.linalg.eigvalsh(matrix) if symmetric else np.linalg.eigvals(matrix)))[::-1]
    second = float(moduli[1]) if moduli.size > 1 else 0.0
    return min(1.0, max(0.0, 1.0 - second))  # rounding can leave |lambda_2| a hair outside [0, 1]
