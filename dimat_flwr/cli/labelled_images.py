"""Labelled images for merging: some to match on, others to measure accuracy on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from dimat_flwr.cli.components import build
from dimat_flwr.cli.errors import CommandError
from dimat_flwr.data import DataSource
from dimat_flwr.seeding import derive_seed

_FILES = (".npz", ".pt", ".safetensors")


@dataclass(frozen=True)
class LabelledImages:
    """What a merge reads.

    Attributes:
        matching: (N, C, H, W) float32, images to match and recalibrate on; their labels are not needed.
        images: (M, C, H, W) float32, other images, to measure accuracy on.
        labels: (M,) int64.
    """

    matching: Tensor
    images: Tensor
    labels: Tensor


def load_images(data: str, arguments: Sequence[str], samples: int, seed: int) -> LabelledImages:
    """Load images from a file or a data set component.

    Args:
        data: a ``.npz``, ``.pt`` or ``.safetensors`` file with arrays ``images`` (N, C, H, W), as the networks were
            trained on (floating-point: taken as they are; uint8: divided by 255), and ``labels`` (N,): images to
            match on are drawn from it and the others measure accuracy. Or the dotted path of a data set such as
            ``dimat_flwr.data.digits.Digits``, normalized by its own mean and deviation: training images to match on,
            test images to measure on.
        arguments: ``name=value`` arguments of the data set.
        samples: how many images to match on.
        seed: which ones are drawn derives from it.

    Raises:
        CommandError: the file or data set is missing, damaged or too small.
    """
    generator = torch.Generator().manual_seed(derive_seed(seed, purpose="matching images"))
    if Path(data).suffix in _FILES:
        images, labels = _from_file(Path(data))
        order = torch.randperm(len(images), generator=generator)
        if len(images) <= samples:
            raise CommandError(
                f"{data} has {len(images)} images, of which {samples} would be drawn to match on and none be left to "
                f"measure accuracy: give --samples below {len(images)}."
            )
        matching, measured = order[:samples], order[samples:]
        return LabelledImages(images[matching], images[measured], labels[measured])
    source = build(data, arguments)
    if not isinstance(source, DataSource):
        raise CommandError(f"{data} is neither a {', '.join(_FILES)} file nor a data set of dimat_flwr.data.")
    dataset = source.load()
    order = torch.randperm(len(dataset.train_inputs), generator=generator)[:samples]
    return LabelledImages(
        source.prepare(dataset.train_inputs[order]), source.prepare(dataset.test_inputs), dataset.test_labels
    )


def _from_file(path: Path) -> tuple[Tensor, Tensor]:
    if not path.is_file():
        raise CommandError(f"there is no data file {path}.")
    arrays: Mapping[str, Tensor]
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: torch.from_numpy(file[name]) for name in ("images", "labels") if name in file}
    elif path.suffix == ".safetensors":
        arrays = safetensors.torch.load_file(path)
    else:
        arrays = torch.load(path, map_location="cpu", weights_only=True)
    if missing := [name for name in ("images", "labels") if name not in arrays]:
        raise CommandError(
            f"{path} lacks the array {' and '.join(missing)}: it needs images (N, C, H, W), labels (N,)."
        )
    images, labels = arrays["images"], arrays["labels"]
    if images.ndim != 4 or labels.shape != images.shape[:1] or labels.is_floating_point():
        raise CommandError(
            f"{path} has images {tuple(images.shape)} and labels {labels.dtype} {tuple(labels.shape)}: images must be "
            "(N, C, H, W) and labels integers (N,)."
        )
    return (images / 255 if images.dtype == torch.uint8 else images.float()), labels.long()
