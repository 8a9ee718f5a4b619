"""Reading the IDX files of MNIST and its kin (LeCun: a header of big-endian sizes, then bytes)."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np

from dimat_flwr.data.errors import DataError

_UNSIGNED_BYTE = 0x08


def read_idx(path: Path) -> np.ndarray:
    """Return the array of unsigned bytes in an IDX file.

    Args:
        path: the file without ``.gz``; if only ``<path>.gz`` is there, that is read.

    Raises:
        DataError: no such array in the file.
    """
    packed = path.with_name(path.name + ".gz")
    source = path if path.exists() else packed
    try:
        content = source.read_bytes() if source == path else gzip.decompress(source.read_bytes())
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{source} cannot be read ({error}); fetch it again") from error
    if len(content) < 4 or content[:3] != bytes([0, 0, _UNSIGNED_BYTE]):
        raise DataError(f"{source} is not an IDX file of unsigned bytes; fetch it again")
    dimensions = content[3]
    header = 4 + 4 * dimensions
    if len(content) < header:
        raise DataError(f"{source} ends within its header; fetch it again")
    shape = struct.unpack(f">{dimensions}I", content[4:header])
    if len(content) != header + int(np.prod(shape)):
        raise DataError(f"{source} holds {len(content) - header} bytes, not {shape}; fetch it again")
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
