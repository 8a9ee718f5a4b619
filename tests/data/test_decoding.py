"""Image files of unusual kinds: what they show is kept, or they are refused by name."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from dimat_flwr.data import DataError
from dimat_flwr.data.decoding import decoded


def read(path: Path) -> np.ndarray:
    return np.asarray(decoded(path, "L", "repair it"))


@pytest.mark.parametrize(("suffix", "mode"), [("png", "I;16"), ("tif", "I;16"), ("tif", "I;16B")])
def test_of_16_bits_the_upper_8_stay(tmp_path: Path, suffix: str, mode: str) -> None:
    path, values = tmp_path / f"x.{suffix}", np.arange(64).reshape(8, 8) * 1000
    order = ">u2" if mode == "I;16B" else "<u2"
    Image.frombytes(mode, (8, 8), values.astype(order).tobytes()).save(path)
    assert read(path).tolist() == (values // 256).tolist()


@pytest.mark.parametrize("dtype", ["float32", "int32"])
def test_numbers_of_32_bits_are_refused(tmp_path: Path, dtype: str) -> None:
    Image.fromarray(np.arange(64).reshape(8, 8).astype(dtype)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x\.tif holds 32-bit numbers \(mode .\).*8 or 16 bits"):
        read(tmp_path / "x.tif")


def test_a_picture_that_is_all_in_the_alpha_channel_is_refused_and_an_opaque_one_is_read(tmp_path: Path) -> None:
    pixels = np.full((8, 8, 4), 255, np.uint8)
    pixels[..., 0] = np.arange(64).reshape(8, 8)
    Image.fromarray(pixels).save(tmp_path / "opaque.png")
    Image.fromarray(pixels[..., :3]).save(tmp_path / "plain.png")
    assert read(tmp_path / "opaque.png").tolist() == read(tmp_path / "plain.png").tolist()
    pixels[..., 3] = np.eye(8) * 255
    Image.fromarray(pixels).save(tmp_path / "drawn.png")
    with pytest.raises(DataError, match=r"drawn\.png is transparent in places; save it on"):
        read(tmp_path / "drawn.png")


@pytest.mark.parametrize(("mode", "clear"), [("I;16", 3), ("L", 3), ("RGB", (3, 3, 3))])
def test_a_colour_that_stands_for_transparent_is_refused_where_it_occurs(
    tmp_path: Path, mode: str, clear: int | tuple[int, ...]
) -> None:
    for value, name in ((3, "clear"), (4, "opaque")):
        image = Image.fromarray(np.full((8, 8), value, np.uint16 if mode == "I;16" else np.uint8))
        (image if mode == "I;16" else image.convert(mode)).save(tmp_path / f"{name}.png", transparency=clear)
    assert read(tmp_path / "opaque.png").max() <= 4
    with pytest.raises(DataError, match="transparent in places"):
        read(tmp_path / "clear.png")


def test_whatever_a_decoder_raises_is_a_fault_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    # Pixels that go on in a chunk whose name is none: Pillow raises a SyntaxError.
    whole = zlib.compress(bytes(9 * 8))
    header = struct.pack(">IIBBBBB", 8, 8, 8, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", whole[:5]), (b"\rzv$", whole[5:]))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, content) for name, content in chunks))
    with pytest.raises(DataError, match=r"x\.png cannot be read as an image \(SyntaxError: broken PNG.*repair it"):
        read(path)


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
