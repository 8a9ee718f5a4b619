"""Random numbers that nobody else can know: what hides samples must not be guessed, or it could be subtracted.

torch's generator on the CPU takes 32 bits of a seed, which can be tried out, and its state (Mersenne Twister) follows
from enough of its numbers, which a difference of two models nearly shows. So these come from ChaCha20's keystream.
"""

import secrets
from collections.abc import Sequence
from math import prod

import numpy as np
import torch
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms
from numpy.typing import NDArray
from torch import Tensor

_KEY_BYTES = 32


class Keystream:
    """Uniform and normal numbers in float64, a function of a key; independent from call to call."""

    def __init__(self, key: bytes) -> None:
        """Make it from its key of 32 bytes."""
        self._key, self._calls = key, 0

    @staticmethod
    def secret() -> "Keystream":
        """Return one that cannot be made again: its key comes from the operating system."""
        return Keystream(secrets.token_bytes(_KEY_BYTES))

    @staticmethod
    def seeded(seed: int) -> "Keystream":
        """Return the one of a seed, 0 <= seed < 2**63: for simulations, where nothing is secret."""
        return Keystream(seed.to_bytes(_KEY_BYTES, "little"))

    def integer(self) -> int:
        """Return a number of 63 bits, to seed what need not be secret for good."""
        return int(self._words(1)[0] >> np.uint64(1))

    def uniform(self, count: int) -> NDArray[np.float64]:
        """Return so many numbers of 53 bits in (0, 1]."""
        found: NDArray[np.float64] = (self._words(count) >> np.uint64(11)).astype(np.float64)
        return (found + 1) * 2.0**-53

    def normal(self, shape: Sequence[int]) -> Tensor:
        """Return standard normal numbers, float64 on the CPU (Box and Muller 1958)."""
        count = prod(shape)
        pairs = self.uniform(2 * ((count + 1) // 2)).reshape(2, -1)
        radius, angle = np.sqrt(-2 * np.log(pairs[0])), 2 * np.pi * pairs[1]
        found = np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:count]
        return torch.from_numpy(found).reshape(tuple(shape))

    def _words(self, count: int) -> NDArray[np.uint64]:
        # A nonce for each call, after the 32 bits that count blocks of 64 bytes within it.
        nonce = bytes(4) + self._calls.to_bytes(12, "little")
        self._calls += 1
        stream = Cipher(algorithms.ChaCha20(self._key, nonce), mode=None).encryptor()
        return np.frombuffer(stream.update(bytes(8 * count)), np.uint64)
