"""Decoding one image file into 8 bits per channel, refusing what has none to give."""

from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from dimat_flwr.data.errors import DataError

_OPAQUE = 255


def decoded(path: Path, mode: Literal["L", "RGB"], remedy: str) -> Image.Image:
    """Return an image file's pixels as grey (L) or colour (RGB), 8 bits per channel.

    Of 16 bits the upper 8 stay. Numbers of 32 bits have no agreed black and white, and what a transparent pixel looks
    like depends on what lies behind it: both are refused.

    Args:
        path: the file.
        mode: what to convert it to.
        remedy: what to do about a file that is no image, for errors.

    Raises:
        DataError: it is no image, or damaged, or of such a kind.
    """
    fault = ""
    try:
        with Image.open(path) as image:
            fault = _fault(image)
            if not fault:
                return _eight_bits(image).convert(mode)
    # Some twenty decoders meet bytes from anywhere; there is no list of what they raise.
    except Exception as error:
        raise DataError(f"{path} cannot be read as an image ({type(error).__name__}: {error}); {remedy}") from error
    raise DataError(f"{path} {fault}")


def _fault(image: Image.Image) -> str:
    if image.mode in ("I", "F"):
        return (
            f"holds 32-bit numbers (mode {image.mode}), which do not say what is black and what is white; save it with "
            "8 or 16 bits per channel, or give the numbers as dataset npz"
        )
    if image.has_transparency_data and not _opaque(image):
        return "is transparent in places; save it on the background that it belongs on"
    return ""


def _opaque(image: Image.Image) -> bool:
    if image.mode.startswith("I;16"):  # one grey value, where it occurs, is transparent
        return not (np.asarray(image) == image.info["transparency"]).any()
    return image.convert("RGBA").getchannel("A").getextrema()[0] == _OPAQUE


def _eight_bits(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    return image.convert("RGBA") if image.has_transparency_data else image
