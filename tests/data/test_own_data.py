"""Devices with data of their own: each reads its folder, nobody another's, and what does not fit is said by name."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from dimat_flwr.config import ConfigError
from dimat_flwr.data import DataError, Dataset
from dimat_flwr.data.arrays import Npz
from dimat_flwr.data.csv_file import CsvFile
from dimat_flwr.data.image_folder import ImageFolder
from dimat_flwr.relay import SetupError
from tests.data.own_files import digits, write_arrays, write_images, write_table
from tests.in_process_app import Run, run_app

CLASSES = ",".join(f"d{digit}" for digit in range(10))
KINDS: dict[str, tuple[Callable[[Path, np.ndarray, np.ndarray], None], dict[str, Any], str]] = {
    "folder": (write_images, {}, "model.width=1"),
    "npz": (write_arrays, {}, "model.in_channels=1 model.width=1"),
    "csv": (
        write_table,
        {"model": "mlp"},
        f"dataset.features=64 dataset.label=digit dataset.num_classes=10 dataset.classes=[{CLASSES}]",
    ),
}


def run_on_devices(folder: Path, kind: str, lacks: bool = True) -> tuple[Run, list[int]]:
    write, settings, overrides = KINDS[kind]
    sizes = []
    for peer in range(3):
        images, labels = digits(peer, 3)
        kept = labels != peer if lacks else labels >= 0
        sizes.append(int(kept.sum()))
        write(folder / f"device-{peer}", images[kept], labels[kept])
    run = run_app(
        folder / "out", 3, dataset=kind, partition="own", rounds=1, data_dir=str(folder / "device-{peer}"),
        overrides=f"{overrides} training.pretrain_epochs=4 optimizer.lr=0.01", **settings,
    )  # fmt: skip
    return run, sizes


@pytest.mark.parametrize("kind", ["folder", *(pytest.param(k, marks=pytest.mark.slow) for k in ("npz", "csv"))])
def test_each_peer_learns_from_its_own_files_alone_and_may_lack_classes(tmp_path: Path, kind: str) -> None:
    run, sizes = run_on_devices(tmp_path, kind)
    assert run.summary["status"] == "completed"
    trained = {event["peer"]: event["samples"] for event in run.events("training") if event["round"] == 0}
    for peer, size in enumerate(sizes):
        assert trained[peer] / 4 == pytest.approx(0.8 * size, abs=6)
    before = [event["accuracy"] for event in run.events("evaluation") if event["round"] == 0]
    assert min(before) > 80


def test_images_are_those_in_the_files_and_a_fifth_of_each_class_is_set_aside(tmp_path: Path) -> None:
    images, labels = digits(0, 3)
    write_images(tmp_path, images, labels)
    found = ImageFolder(data_dir=str(tmp_path)).load()
    assert len(found.train_labels) + len(found.test_labels) == len(labels)
    both = np.concatenate([found.train_inputs.numpy(), found.test_inputs.numpy()])[:, 0]
    classes = np.concatenate([found.train_labels.numpy(), found.test_labels.numpy()])
    key = lambda image, label: (int(label), image.tobytes())  # noqa: E731
    assert sorted(map(key, both, classes)) == sorted(map(key, images, labels))
    for digit in range(10):
        assert (found.test_labels == digit).sum() == round((labels == digit).sum() / 5)


def test_a_test_folder_of_its_own_is_used(tmp_path: Path) -> None:
    images, labels = digits(0, 9)
    write_images(tmp_path / "train", images, labels)
    write_images(tmp_path / "test", images[:20], labels[:20])
    found = ImageFolder(data_dir=str(tmp_path)).load()
    assert (len(found.train_labels), len(found.test_labels)) == (len(labels), 20)


def test_images_of_other_sizes_and_colours_are_fitted(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(5):
            Image.new("RGBA", (31, 17), (250, 10, 10, 255)).save(tmp_path / label / f"{number}.png")
    found = ImageFolder(
        data_dir=str(tmp_path), classes=("a", "b", "c"), num_classes=3, channels=3, image_size=12, mean=(0.5,) * 3,
        std=(0.5,) * 3,
    ).load()  # fmt: skip
    assert found.train_inputs.shape == (8, 3, 12, 12)
    assert found.train_inputs[0, :, 5, 5].tolist() == [250, 10, 10]


def folder_of(tmp_path: Path, name: str = "0") -> Path:
    (tmp_path / name).mkdir(parents=True)
    for number in range(6):
        Image.new("L", (8, 8), number).save(tmp_path / name / f"{number}.png")
    return tmp_path


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="data-dir is not set"):
        ImageFolder().check()
    with pytest.raises(DataError, match="does not exist; set data-dir"):
        ImageFolder(data_dir=str(tmp_path / "none")).check()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"holds no <class>/\*.png"):
        ImageFolder(data_dir=str(tmp_path / "empty")).check()
    with pytest.raises(DataError, match="has the class 'zero', which is not among those the run agreed on"):
        ImageFolder(data_dir=str(folder_of(tmp_path / "strange", "zero"))).check()
    damaged = folder_of(tmp_path / "damaged")
    (damaged / "0" / "3.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"3.png cannot be read as an image"):
        ImageFolder(data_dir=str(damaged)).load()
    few = folder_of(tmp_path / "few")
    for number in range(2, 6):
        (few / "0" / f"{number}.png").unlink()
    with pytest.raises(DataError, match="has 2 samples, too few to set a fifth of each class aside"):
        ImageFolder(data_dir=str(few)).load()
    with pytest.raises(ValueError, match="num_classes is 10, but classes has 2 names"):
        ImageFolder(classes=("a", "b"))


@pytest.mark.parametrize(
    ("arrays", "fault"),
    [
        ({"inputs": np.zeros((9, 1, 8, 8))}, "lacks the array labels"),
        ({"inputs": np.zeros((9, 8, 8)), "labels": np.zeros(9, int)}, r"the run agreed on inputs \(N, 1, 8, 8\)"),
        ({"inputs": np.zeros((9, 1, 8, 8)), "labels": np.zeros(8, int)}, "the run agreed on"),
        ({"inputs": np.zeros((9, 1, 8, 8)), "labels": np.zeros(9)}, "integer labels"),
        ({"inputs": np.zeros((9, 1, 8, 8)), "labels": np.full(9, 10)}, "has the class 10; the run agreed on classes 0"),
        ({"inputs": np.full((9, 1, 8, 8), "x"), "labels": np.zeros(9, int)}, "not numbers"),
        ({"inputs": np.full((9, 1, 8, 8), np.nan), "labels": np.zeros(9, int)}, "not finite"),
        ({"inputs": np.zeros((9, 1, 8, 8), "m8[s]"), "labels": np.zeros(9, int)}, "timedelta64.*not numbers"),
        ({"inputs": np.zeros((9, 1, 8, 8)), "labels": np.zeros(9, "m8[s]")}, "integer labels"),
        (
            {"inputs": np.zeros((9, 1, 8, 8)), "labels": np.zeros(9, int), "test_labels": np.zeros(9, int)},
            "lacks the array test_inputs",
        ),
        (
            {"inputs": np.zeros((9, 1, 8, 8)), "labels": np.zeros(9, int), "test_inputs": np.zeros((9, 1, 8, 8))},
            "lacks the array test_labels",
        ),
    ],
)
def test_what_is_wrong_with_arrays_is_said(tmp_path: Path, arrays: dict[str, np.ndarray], fault: str) -> None:
    np.savez(tmp_path / "data.npz", **arrays)
    with pytest.raises(DataError, match=fault):
        Npz(data_dir=str(tmp_path)).load()


def test_an_archive_that_is_none_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        Npz(data_dir=str(tmp_path)).check()
    (tmp_path / "data.npz").write_bytes(b"PK no archive")
    with pytest.raises(DataError, match=r"cannot be read .*numpy.savez"):
        Npz(data_dir=str(tmp_path)).load()
    with (tmp_path / "data.npz").open("wb") as file:
        np.save(file, np.zeros(9))
    with pytest.raises(DataError, match=r"is a single array, not an archive .*numpy.savez"):
        Npz(data_dir=str(tmp_path)).load()
    with zipfile.ZipFile(tmp_path / "data.npz", "w") as file:
        file.writestr("inputs.npy", b"no array")
    with pytest.raises(DataError, match=r"inputs is not an array; .*numpy.savez"):
        Npz(data_dir=str(tmp_path)).load()


def test_whatever_bit_of_an_archive_is_wrong_is_said_as_a_fault_of_the_file(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "data.npz", inputs=np.arange(640.0).reshape(10, 1, 8, 8), labels=np.arange(10))
    whole, path = (tmp_path / "data.npz").read_bytes(), tmp_path / "data.npz"
    generator, faults = np.random.default_rng(0), []
    for place in generator.permutation(len(whole))[:100]:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xA5]) + whole[place + 1 :])
        try:
            Npz(data_dir=str(tmp_path)).read()
        except DataError as error:
            faults.append(str(error))
    assert len(faults) > 60
    assert all(str(path) in fault for fault in faults)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "has no column 'label'"),
        ("a,b\n1,2\n", "has no column 'label'; set dataset.label to one of a, b"),
        ("a,label\n1,0\n", "has 1 columns besides 'label'"),
        ("a,a,label\n1,2,0\n", "different names"),
        ("a,b,label\n", "no row below"),
        ("a,b,label\n1,x,0\n", "line 2: b is 'x', not a finite number"),
        ("a,b,label\n1,inf,0\n", "not a finite number"),
        ("a,b,label\n1\n", "line 2: 1 cells below 3 column names"),
        ("a,b,label\n1,2,0\n\n1,5,1,0\n", "line 4: 4 cells below 3 column names"),
        ("label,a,b\n0,1,2\n0,1,5,2\n", "line 3: 4 cells below 3 column names"),
        ("a,b,label\n1_000,2,0\n", "line 2: a is '1_000', not a finite number"),
        ("a,b,label\n1,2,7\n", "has the class '7', which is not among"),
    ],
)
def test_what_is_wrong_with_a_table_is_said(tmp_path: Path, text: str, fault: str) -> None:
    (tmp_path / "data.csv").write_text(text)
    with pytest.raises(DataError, match=fault):
        CsvFile(data_dir=str(tmp_path), features=2).load()


def test_shared_means_make_a_value_the_same_everywhere(tmp_path: Path) -> None:
    rows = "a,label\n" + "".join(f"{value},{value % 2}\n" for value in range(20))
    (tmp_path / "data.csv").write_text(rows)
    (tmp_path / "test.csv").write_text("a,label\n7,1\n")
    shared = CsvFile(data_dir=str(tmp_path), features=1, mean=(5.0,), std=(2.0,)).load()
    assert shared.test_inputs.tolist() == [[1.0]]
    own = CsvFile(data_dir=str(tmp_path), features=1).load()
    assert own.test_inputs.item() == pytest.approx((7 - 9.5) / np.arange(20).std())


def test_columns_go_by_their_names_whatever_their_order(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"data_dir": str(tmp_path), "features": 2, "mean": (0.0, 0.0), "std": (1.0, 1.0)}
    rows = [(k, 100 + k, k % 2) for k in range(20)]
    (tmp_path / "data.csv").write_text("a,b,label\n" + "".join(f"{a},{b},{c}\n" for a, b, c in rows))
    (tmp_path / "test.csv").write_text("b,label,a\n" + "".join(f"{b},{c},{a}\n" for a, b, c in rows))
    as_in_file = CsvFile(**shared).load()
    assert as_in_file.train_inputs.tolist() == as_in_file.test_inputs.tolist() == [[a, b] for a, b, _ in rows]
    agreed = CsvFile(**shared, columns=("b", "a")).load()
    assert agreed.train_inputs.tolist() == agreed.test_inputs.tolist() == [[b, a] for a, b, _ in rows]
    (tmp_path / "test.csv").write_text("a,height,label\n1,2,0\n")
    with pytest.raises(DataError, match=r"test.csv has the columns height where .*data.csv has b; rename"):
        CsvFile(**shared, test_samples=1).load()
    with pytest.raises(DataError, match=r"data.csv has the columns b where the run agreed on c; rename"):
        CsvFile(**shared, columns=("a", "c")).load()


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"file": "test.csv"}, "file and test_file are both 'test.csv'"),
        ({"file": "./mine.csv", "test_file": "sub/../mine.csv"}, "file and test_file are both"),
        ({"columns": ("a",)}, "columns needs 2 different names"),
        ({"columns": ("a", "a")}, "columns needs 2 different names"),
        ({"columns": ("a", "label")}, "columns needs 2 different names"),
        ({"columns": ("a", "b", "label")}, "columns needs 2 different names"),
    ],
)
def test_a_table_s_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        CsvFile(features=2, **settings)


def test_a_constant_column_stays_0_whatever_rounding_makes_of_it(tmp_path: Path) -> None:
    def load(**settings: Any) -> Dataset:
        return CsvFile(data_dir=str(tmp_path), features=2, **settings).load()

    (tmp_path / "data.csv").write_text("a,b,label\n" + "".join(f"{k},0.1,{k % 2}\n" for k in range(400)))
    (tmp_path / "test.csv").write_text("a,b,label\n1,0.1,0\n2,0.2,1\n")
    assert np.full((400, 2), 0.1).std(axis=0).min() > 0  # why it must not be asked
    assert load().train_inputs[:, 1].unique().tolist() == [0.0]
    assert load().test_inputs[:, 1].tolist() == pytest.approx([0.0, 0.1])
    assert load(mean=(0.0, 0.0)).test_inputs[:, 1].tolist() == pytest.approx([0.1, 0.2])
    assert load(std=(1.0, 1e-9)).test_inputs[:, 1].tolist() == pytest.approx([0.0, 1e8])


def test_nothing_is_trained_where_a_device_s_data_do_not_fit(tmp_path: Path) -> None:
    for peer, name in enumerate(("0", "1", "zero")):
        folder_of(tmp_path / f"device-{peer}", name)
    with pytest.raises(SetupError, match=r"peer 2: .*has the class 'zero'"):
        run_app(tmp_path / "out", 3, dataset="folder", partition="own", data_dir=str(tmp_path / "device-{peer}"))


def test_a_simulation_in_which_all_would_have_the_same_samples_for_their_own_is_refused(tmp_path: Path) -> None:
    small = "training.pretrain_epochs=0 training.local_steps=1 model.width=2 dataset.test_samples=20"
    with pytest.raises(
        SetupError, match=r"every peer: partition 'own' lets .* write \{peer\} into data-dir"
    ) as refused:
        run_app(tmp_path / "refused", 3, partition="own", overrides=small)
    assert "nothing was trained" in str(refused.value)
    settings = {"partition": "own", "algorithm": "weight_averaging", "rounds": 1, "model": "mlp"}
    network = "model.in_features=64 training.pretrain_epochs=0 training.local_steps=1 dataset.test_samples=20"
    run = run_app(tmp_path / "devices", 2, simulation=False, overrides=network, **settings)
    assert run.summary["status"] == "completed", "devices have files of their own under one and the same name"
    told_apart = f"{network} dataset._target_=tests.data.own_files.ByPlace +dataset.place=0"
    run = run_app(tmp_path / "told-apart", 2, overrides=told_apart, **settings)
    assert run.summary["status"] == "completed", "a data set may tell peers apart by itself"


def test_own_data_cannot_be_pooled(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="leaves every peer's samples on its own device"):
        run_app(tmp_path, 3, dataset="folder", partition="own", algorithm="centralized")
