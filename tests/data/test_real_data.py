"""The real data sets, where they are: digits everywhere, the others in the folder that DIMAT_DATA names."""

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.datasets import load_digits

from dimat_flwr.data.cifar import CIFAR10, CIFAR100
from dimat_flwr.data.digits import Digits
from dimat_flwr.data.mnist import FashionMNIST
from dimat_flwr.data.tiny_imagenet import TinyImageNet

DATA = os.environ.get("DIMAT_DATA")


def require(folder):
    if DATA is None:
        pytest.skip(f"DIMAT_DATA is not set: {folder} is not read")
    if not (Path(DATA) / folder).is_dir():
        pytest.skip(f"DIMAT_DATA has no {folder}")
    return Path(DATA) / folder


def statistics(images):
    scaled = images.double() / 255
    return scaled.mean(dim=(0, 2, 3)).tolist(), scaled.std(dim=(0, 2, 3)).tolist()


def test_digits_are_all_there_once_and_stratified():
    source = Digits()
    source.check()
    data = source.load()
    original = load_digits()
    assert len(data.train_labels) + len(data.test_labels) == 1797
    seen = torch.cat([data.train_inputs, data.test_inputs]).flatten(1).double() / 255 * 16
    labels = torch.cat([data.train_labels, data.test_labels])
    ours = sorted((*row, label) for row, label in zip(seen.round().tolist(), labels.tolist(), strict=True))
    theirs = sorted((*row, label) for row, label in zip(original.data.tolist(), original.target.tolist(), strict=True))
    assert ours == theirs
    shares = np.bincount(data.test_labels) / np.bincount(original.target)
    assert np.all(np.abs(shares - 0.2) < 0.003)
    assert statistics(torch.cat([data.train_inputs, data.test_inputs])) == (
        pytest.approx(source.mean, abs=1e-3),
        pytest.approx(source.std, abs=1e-3),
    )


def test_loading_is_cached_by_content_and_subsets_nest():
    whole, part = Digits().load(), Digits(train_samples=50, test_samples=20).load()
    assert Digits().load() is whole
    assert (len(part.train_labels), len(part.test_labels)) == (50, 20)
    assert torch.bincount(part.train_labels).tolist() == [5] * 10
    rows = {tuple(image.flatten().tolist()) for image in whole.train_inputs}
    assert all(tuple(image.flatten().tolist()) in rows for image in part.train_inputs)


@pytest.mark.slow
def test_cifar10_is_the_published_one():
    folder = require("cifar-10-batches-py")
    source = CIFAR10(data_dir=DATA)
    data = source.load()
    assert data.train_inputs.shape == (50_000, 3, 32, 32)
    assert torch.bincount(data.train_labels).tolist() == [5000] * 10
    assert torch.bincount(data.test_labels).tolist() == [1000] * 10
    with (folder / "test_batch").open("rb") as file:
        raw = pickle.load(file, encoding="bytes")
    assert data.test_inputs[7].flatten().tolist() == raw[b"data"][7].tolist()  # stored channel by channel
    assert data.test_labels[7] == raw[b"labels"][7]
    sample = data.train_inputs[::10]
    assert statistics(sample) == (pytest.approx(source.mean, abs=4e-3), pytest.approx(source.std, abs=4e-3))


@pytest.mark.slow
def test_cifar100_has_fine_labels():
    require("cifar-100-python")
    data = CIFAR100(data_dir=DATA, test_samples=200).load()
    assert data.train_inputs.shape == (50_000, 3, 32, 32)
    assert torch.bincount(data.train_labels).tolist() == [500] * 100
    assert torch.bincount(data.test_labels).tolist() == [2] * 100


def test_fashion_mnist_is_the_published_one():
    folder = require("FashionMNIST")
    source = FashionMNIST(data_dir=DATA)
    data = source.load()
    assert data.train_inputs.shape == (60_000, 1, 28, 28)
    assert torch.bincount(data.train_labels).tolist() == [6000] * 10
    raw = (folder / "raw/t10k-images-idx3-ubyte").read_bytes()[16:]
    assert data.test_inputs[-1].flatten().tolist() == list(raw[-784:])
    assert statistics(data.train_inputs[::6]) == (
        pytest.approx(source.mean, abs=4e-3),
        pytest.approx(source.std, abs=4e-3),
    )


@pytest.mark.slow
def test_tiny_imagenet_decodes_the_subset_asked_for():
    folder = require("tiny-imagenet-200")
    data = TinyImageNet(data_dir=DATA, train_samples=400, test_samples=200).load()
    assert data.train_inputs.shape == (400, 3, 64, 64)
    assert torch.bincount(data.train_labels).tolist() == [2] * 200
    assert torch.bincount(data.test_labels).tolist() == [1] * 200
    names = sorted(path.name for path in (folder / "train").iterdir())
    with Image.open(folder / "train" / names[5] / "images" / f"{names[5]}_1.JPEG") as image:
        expected = np.asarray(image.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(data.train_inputs[data.train_labels == 5][1].numpy(), expected)
