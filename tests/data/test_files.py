"""Data sets from made-up folders: both layouts are read, and what is missing or damaged is said plainly."""

import gzip
import hashlib
import pickle
import struct
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from dimat_flwr.data import DataError, packaged
from dimat_flwr.data.breast_cancer import BreastCancer
from dimat_flwr.data.cifar import CIFAR10, CIFAR100
from dimat_flwr.data.digits import Digits
from dimat_flwr.data.idx import read_idx
from dimat_flwr.data.mnist import MNIST, FashionMNIST
from dimat_flwr.data.tiny_imagenet import TinyImageNet


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def write_mnist(root, pack=False):
    folder = root / "MNIST" / "raw"
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 30), ("t10k", 20)):
        arrays[f"{part}-images-idx3-ubyte"] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{part}-labels-idx1-ubyte"] = np.arange(count, dtype=np.uint8) % 10
    for name, array in arrays.items():
        if pack:
            (folder / f"{name}.gz").write_bytes(gzip.compress(idx(array)))
        else:
            (folder / name).write_bytes(idx(array))
    return folder, arrays


@pytest.mark.parametrize("pack", [False, True], ids=["plain", "gz"])
def test_mnist_is_read_from_torchvisions_folder(tmp_path, pack):
    _, arrays = write_mnist(tmp_path, pack)
    source = MNIST(data_dir=str(tmp_path))
    source.check()
    data = source.load()
    assert np.array_equal(data.train_inputs[:, 0], arrays["train-images-idx3-ubyte"])
    assert np.array_equal(data.test_labels, arrays["t10k-labels-idx1-ubyte"])


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    write_mnist(tmp_path / "sets")
    MNIST(data_dir="~/sets").check()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not an IDX file"),
        (b"\x00\x00\x0d\x01" + bytes(8), "not an IDX file of unsigned bytes"),
        (b"\x00\x00\x08\x03\x00\x00", "ends within its header"),
        (idx(np.zeros((3, 2), np.uint8))[:-1], r"holds 5 bytes, not \(3, 2\)"),
    ],
)
def test_damaged_idx_files_are_named(tmp_path, content, said):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(DataError, match=f"file.*{said}"):
        read_idx(path)


def test_damaged_archive_is_named(tmp_path):
    (tmp_path / "file.gz").write_bytes(gzip.compress(bytes(100))[:-20])
    with pytest.raises(DataError, match=r"file\.gz cannot be read"):
        read_idx(tmp_path / "file")


def test_images_of_another_size_are_refused(tmp_path):
    folder, _ = write_mnist(tmp_path)
    (folder / "train-images-idx3-ubyte").write_bytes(idx(np.zeros((30, 14, 14), np.uint8)))
    with pytest.raises(DataError, match=r"training inputs are torch.uint8 \(30, 1, 14, 14\)"):
        MNIST(data_dir=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("source", "folder"),
    [
        (CIFAR10, "cifar-10-batches-py"),
        (CIFAR100, "cifar-100-python"),
        (MNIST, "MNIST"),
        (TinyImageNet, "tiny-imagenet-200"),
    ],
)
@pytest.mark.parametrize("call", ["check", "load"])
def test_missing_folder_says_where_and_how_to_get_it(tmp_path, source, folder, call):
    with pytest.raises(DataError) as caught:
        getattr(source(data_dir=str(tmp_path)), call)()
    text = str(caught.value)
    assert str(tmp_path / folder) in text
    assert "http" in text
    with pytest.raises(DataError, match=r"data_dir is not set.*(set data-dir|in data-dir)"):
        getattr(source(), call)()


def test_fashion_mnist_is_looked_for_in_debians_folder_too(tmp_path, monkeypatch):
    monkeypatch.setattr(FashionMNIST, "system_folders", (str(tmp_path / "system"),))
    with pytest.raises(DataError, match=r"system does not exist.*apt-get install dataset-fashion-mnist"):
        FashionMNIST(data_dir=str(tmp_path)).check()
    folder, _ = write_mnist(tmp_path, pack=True)
    folder.rename(tmp_path / "system")
    assert len(FashionMNIST().load().train_labels) == 30


def test_incomplete_folder_names_the_first_missing_file(tmp_path):
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    (folder / "data_batch_1").touch()
    with pytest.raises(DataError, match=r"lacks data_batch_2 and 4 more.*CIFAR10"):
        CIFAR10(data_dir=str(tmp_path)).check()


def test_damaged_cifar_is_not_unpickled(tmp_path):
    folder = tmp_path / "cifar-100-python"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    source = CIFAR100(data_dir=str(tmp_path))
    source.check()
    with pytest.raises(DataError, match=r"cifar-100-python is damaged: train has a wrong checksum.*download=True"):
        source.load()


def test_cifar_files_are_read_as_published(tmp_path, monkeypatch):
    generator, written, sums = np.random.default_rng(0), {}, {}
    for name in ("train", "test"):
        images = generator.integers(0, 256, (120, 3072), dtype=np.uint8)
        written[name] = (images, [k % 100 for k in range(120)])
        content = pickle.dumps({"data": images, "fine_labels": written[name][1], "coarse_labels": [0] * 120})
        (tmp_path / "cifar-100-python").mkdir(exist_ok=True)
        (tmp_path / "cifar-100-python" / name).write_bytes(content)
        sums[name] = hashlib.md5(content, usedforsecurity=False).hexdigest()
    monkeypatch.setattr(CIFAR100, "train_files", {"train": sums["train"]})
    monkeypatch.setattr(CIFAR100, "test_files", {"test": sums["test"]})
    data = CIFAR100(data_dir=str(tmp_path), test_samples=100).read()
    # A row is all of red, then green, then blue, each row by row.
    assert data.train_inputs[5, 1, 2, 3] == written["train"][0][5, 1024 + 2 * 32 + 3]
    assert data.train_labels.tolist() == written["train"][1]
    assert np.array_equal(data.test_inputs.flatten(1), written["test"][0][:100])


def test_scikit_learns_files_are_looked_for_without_importing_it(tmp_path, monkeypatch):
    monkeypatch.setattr(packaged, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"BreastCancer was not found: scikit-learn is not installed.*pip install"):
        BreastCancer().check()
    folder = tmp_path / "datasets" / "data"
    folder.mkdir(parents=True)
    spec = SimpleNamespace(submodule_search_locations=[str(tmp_path)])
    monkeypatch.setattr(packaged, "find_spec", lambda name: spec)
    with pytest.raises(
        DataError, match=r"Digits was not found: .*digits\.csv\.gz does not exist; it comes with scikit"
    ):
        Digits().check()
    for content, said in (("569,30\n1,2\n", r"\(1, 2\) numbers, not rows of 31"), ("569\n1,x\n", "cannot be read")):
        (folder / "breast_cancer.csv").write_text(content)
        with pytest.raises(DataError, match=said):
            BreastCancer().read()
    (folder / "digits.csv.gz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"digits\.csv\.gz cannot be read"):
        Digits().read()


def write_tiny(root, published):
    folder = root / "tiny-imagenet-200"
    names = [f"n{k:08d}" for k in range(200)]
    lines = []
    for label, name in enumerate(names):
        image = Image.new("RGB" if label else "L", (64, 64), (label, 255 - label, 7) if label else 100)
        for path in [folder / "train" / name / "images" / f"{name}_{k}.JPEG" for k in (2, 10)]:
            path.parent.mkdir(parents=True, exist_ok=True)
            image.save(path, quality=95)
        val = folder / "val" / ("images" if published else f"{name}/images") / f"val_{label}.JPEG"
        val.parent.mkdir(parents=True, exist_ok=True)
        image.save(val, quality=95)
        lines.append(f"val_{label}.JPEG\t{name}\t0\t0\t62\t62\n")
    if published:
        (folder / "val" / "val_annotations.txt").write_text("".join(reversed(lines)))
    return folder


@pytest.mark.parametrize("published", [True, False], ids=["published", "class folders"])
def test_tiny_imagenet_in_both_layouts(tmp_path, published):
    folder = write_tiny(tmp_path, published)
    source = TinyImageNet(data_dir=str(tmp_path), train_samples=200)
    source.check()
    data = source.load()
    for images, labels in ((data.train_inputs, data.train_labels), (data.test_inputs, data.test_labels)):
        assert sorted(labels.tolist()) == list(range(200))
        colours = images.float().mean(dim=(2, 3))
        coloured = labels > 0
        assert (colours[coloured, 0] - labels[coloured]).abs().max() < 3
        assert (colours[~coloured] - 100).abs().max() < 2
    (folder / "train" / "n00000003" / "images" / "n00000003_2.JPEG").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"n00000003_2\.JPEG cannot be read as an image .*unpack"):
        TinyImageNet(data_dir=str(tmp_path)).load()
    # One row of 64 pixels would fill all others.
    Image.new("RGB", (64, 1)).save(folder / "train" / "n00000003" / "images" / "n00000003_2.JPEG")
    with pytest.raises(DataError, match=r"n00000003_2\.JPEG has 64 x 1 pixels, not 64 x 64"):
        TinyImageNet(data_dir=str(tmp_path)).load()
    (folder / "train" / "n99").mkdir()
    with pytest.raises(DataError, match="has 201 class folders, not 200"):
        source.check()


def test_unknown_class_in_the_annotations_is_named(tmp_path):
    folder = write_tiny(tmp_path, published=True)
    (folder / "val" / "val_annotations.txt").write_text("val_0.JPEG\tn00000000\t0\nval_1.JPEG\tn7\t0\n")
    with pytest.raises(DataError, match=r"val_annotations\.txt, line 2: no known class"):
        TinyImageNet(data_dir=str(tmp_path)).load()
    (folder / "val" / "val_annotations.txt").unlink()
    with pytest.raises(DataError, match=r"val_annotations\.txt is missing"):
        TinyImageNet(data_dir=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"num_classes": 11}, "num_classes"),
        ({"mean": (0.5, 0.5, 0.5)}, "need 1 values, not 3 and 1"),
        ({"std": (0.0,)}, "std must be positive"),
        ({"train_samples": 0}, "train_samples"),
        ({"colour": True}, "colour"),
    ],
)
def test_wrong_settings_are_refused(fields, said):
    with pytest.raises(ValidationError, match=said):
        Digits(**fields)
