"""The command as a person starts it, on networks small enough to train here."""

import copy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from typer.testing import CliRunner

from dimat_flwr.cli import app
from dimat_flwr.merging import merge

CNN = "dimat_flwr.models.digits_cnn.DigitsCNN"
RESNET = "dimat_flwr.models.cifar_resnet.ResNet20"


@pytest.fixture
def command(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    return lambda *arguments: CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def checkpoints(tmp_path):
    from dimat_flwr.models.digits_cnn import DigitsCNN

    paths = []
    for seed, name in enumerate(("a.safetensors", "b.pt", "c.safetensors")):
        torch.manual_seed(seed)
        state = DigitsCNN().state_dict()
        if name.endswith(".pt"):
            torch.save(state, tmp_path / name)
        else:
            safetensors.torch.save_file(state, tmp_path / name)
        paths.append(tmp_path / name)
    return paths


@pytest.fixture
def data(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "images.npz"
    np.savez(path, images=rng.random((60, 1, 8, 8), dtype=np.float32), labels=rng.integers(0, 10, 60))
    return path


def test_help_and_records_do_not_wait_for_torch():
    code = "import sys, dimat_flwr.cli, dimat_flwr.records\nassert not {'torch', 'hydra', 'flwr'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])


def test_spec_lists_groups_and_axes(command):
    result = command("spec", RESNET, "--model-arg", "width=2")
    assert result.exit_code == 0, result.output
    assert "12 permutation groups" in result.output
    assert "layer1.0.conv1.weight[0]" in result.output
    assert "% of the parameters" in result.output


def test_verify_proves_a_network(command):
    result = command("verify", RESNET, "--model-arg", "num_classes=7")
    assert result.exit_code == 0, result.output
    assert "unchanged" in result.output


def test_verify_fails_beyond_the_tolerance(command):
    result = command("verify", RESNET, "--tolerance", "-1")
    assert result.exit_code == 1
    assert "CHANGED" in result.output


@pytest.mark.parametrize(
    "method",
    ["activation", *(pytest.param(m, marks=pytest.mark.slow) for m in ("weight_from_activation", "weight", "average"))],
)
@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_merge_writes_a_checkpoint_and_shows_accuracies(command, checkpoints, data, tmp_path, method, suffix):
    output = tmp_path / f"merged.{suffix}"
    result = command(
        "merge", *checkpoints, "--model", CNN, "--data", data, "--method", method, "-o", output, "--samples", 40
    )
    assert result.exit_code == 0, result.output
    for name in ("a.safetensors", "b.pt", "c.safetensors", f"merged ({method})", "20 images not matched on"):
        assert name in result.output
    state = safetensors.torch.load_file(output) if suffix == "safetensors" else torch.load(output, weights_only=True)
    mine = safetensors.torch.load_file(checkpoints[0])
    assert state.keys() == mine.keys()
    assert not torch.equal(next(iter(state.values())), next(iter(mine.values())))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["a.safetensors", "b.pt", "c.safetensors", "images.npz", output.name]
    )
    again = command(
        "merge", *checkpoints, "--model", CNN, "--data", data, "--method", method, "-o", output, "--samples", 40
    )
    assert again.output == result.output


def test_average_without_recalibration_is_the_plain_weighted_mean(command, checkpoints, data, tmp_path):
    output = tmp_path / "mean.pt"
    result = command(
        *("merge", *checkpoints[:2], "--model", CNN, "--data", data, "--method", "average", "-o", output),
        *("--weights", "0.25,0.75", "--batchnorm", "average", "--samples", 40),
    )
    assert result.exit_code == 0, result.output
    first, second = safetensors.torch.load_file(checkpoints[0]), torch.load(checkpoints[1], weights_only=True)
    for name, tensor in torch.load(output, weights_only=True).items():
        if tensor.is_floating_point():
            torch.testing.assert_close(tensor, 0.25 * first[name] + 0.75 * second[name])


@pytest.mark.slow
def test_merging_shuffled_copies_of_a_trained_network_keeps_its_accuracy(command, tmp_path):
    from dimat_flwr.data.digits import Digits
    from dimat_flwr.models.digits_cnn import DigitsCNN
    from dimat_flwr.symmetry import find_permutation_spec

    source = Digits()
    dataset = source.load()
    torch.manual_seed(0)
    model = DigitsCNN()
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for start in range(0, 1024, 64):
        x = source.prepare(dataset.train_inputs[start : start + 64])
        nn.functional.cross_entropy(model(x), dataset.train_labels[start : start + 64]).backward()
        optimizer.step()
        optimizer.zero_grad()
    model.eval()
    test = source.prepare(dataset.test_inputs)
    mine = copy.deepcopy(model.state_dict())
    spec = find_permutation_spec(model, test[:2])
    safetensors.torch.save_file(mine, tmp_path / "a.safetensors")
    theirs = spec.apply(mine, spec.random(torch.Generator().manual_seed(0)))
    safetensors.torch.save_file(theirs, tmp_path / "b.safetensors")
    output = tmp_path / "merged.safetensors"
    result = command(
        *("merge", tmp_path / "a.safetensors", tmp_path / "b.safetensors", "--model", CNN, "-o", output),
        *("--data", "dimat_flwr.data.digits.Digits", "--samples", 400),
    )
    assert result.exit_code == 0, result.output

    def accuracy(state):
        model.load_state_dict(state)
        with torch.no_grad():
            return float((model(test).argmax(1) == dataset.test_labels).float().mean() * 100)

    kept, averaged = (
        accuracy(safetensors.torch.load_file(output)),
        accuracy(merge(model, mine, [theirs], [0.5, 0.5], batches=[test], method="none")),
    )
    assert kept > 85
    assert averaged < kept - 20
    assert f"{kept:.2f}" in result.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "torchvision.models.nothing"}, "cannot import 'torchvision.models.nothing'"),
        ({"--model": "torch.nn.Linear"}, "cannot be built"),
        ({"--model": "math.tau.hex"}, "cannot import"),
        ({"--model": "builtins.dict"}, "is not a network"),
        ({"--model-arg": "width"}, "is not an argument"),
        ({"--model-arg": "width=1"}, "another architecture"),
        ({"--data": "missing.npz"}, "there is no data file missing.npz"),
        ({"--data": "builtins.dict"}, "neither a .npz, .pt, .safetensors file nor a data set"),
        ({"--samples": 60}, "none be left to measure accuracy"),
        ({"--weights": "0.5,x"}, "are not mixing weights"),
        ({"--weights": "0.5,0.4"}, "sum to 0.9"),
        ({"--device": "cuda:99"}, "cannot compute on device 'cuda:99'"),
        ({"--device": "abacus"}, "cannot compute on device 'abacus'"),
        ({"-o": "merged.bin"}, "end its name with .safetensors or .pt"),
        ({"-o": "no/where/merged.pt"}, "does not exist"),
    ],
)
def test_mistakes_are_told_in_one_line_and_nothing_is_written(command, checkpoints, data, tmp_path, change, message):
    output = tmp_path / "merged.pt"
    options = {"--model": CNN, "--data": data, "-o": output, "--samples": 40, **change}
    result = command("merge", *checkpoints[:2], *(part for option in options.items() for part in option))
    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert not output.exists()


def test_bad_checkpoints_are_named(command, checkpoints, data, tmp_path):
    class Payload:
        def __reduce__(self):
            return (open, (str(tmp_path / "pwned"), "w"))

    torch.save({"weight": Payload()}, tmp_path / "evil.pt")
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "wrapped.pt")
    (tmp_path / "cut.safetensors").write_bytes(checkpoints[0].read_bytes()[:200])
    for name, message in (
        ("evil.pt", "cannot be read"),
        ("wrapped.pt", "not a state dict of tensors"),
        ("cut.safetensors", "cannot be read"),
        ("missing.pt", "there is no checkpoint"),
    ):
        result = command(
            "merge", checkpoints[0], tmp_path / name, "--model", CNN, "--data", data, "-o", tmp_path / "merged.pt"
        )
        assert result.exit_code == 1
        assert message in result.stderr
        assert name in result.stderr
    assert not (tmp_path / "pwned").exists()


def test_a_failed_write_leaves_the_file_that_was_there(checkpoints, monkeypatch):
    from dimat_flwr.cli.checkpoints import load_checkpoint, save_checkpoint

    before = checkpoints[0].read_bytes()

    def broken(state):
        raise RuntimeError("disk full")

    monkeypatch.setattr(safetensors.torch, "save", broken)
    with pytest.raises(RuntimeError, match="disk full"):
        save_checkpoint(load_checkpoint(checkpoints[1]), checkpoints[0])
    assert checkpoints[0].read_bytes() == before
    assert len(list(checkpoints[0].parent.iterdir())) == 3


def test_a_device_without_a_driver_is_told_in_one_line(command, checkpoints, data, tmp_path, monkeypatch):
    def without_driver(self, device):
        raise RuntimeError("Found no NVIDIA driver on your system.\nPlease check that you have an NVIDIA GPU")

    monkeypatch.setattr(nn.Module, "to", without_driver)
    output = tmp_path / "merged.pt"
    result = command("merge", *checkpoints, "--model", CNN, "--data", data, "-o", output, "--device", "cuda")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: cannot compute on device 'cuda' (Found no NVIDIA driver on your system): ")
    assert "leave out --device" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not output.exists()


@pytest.mark.parametrize("strategy", ["many", pytest.param("cycle_consistent", marks=pytest.mark.slow)])
def test_shuffled_copies_of_one_network_merge_to_it_by_every_strategy(command, checkpoints, data, tmp_path, strategy):
    from dimat_flwr.models.digits_cnn import DigitsCNN
    from dimat_flwr.symmetry import find_permutation_spec

    mine = safetensors.torch.load_file(checkpoints[0])
    spec = find_permutation_spec(DigitsCNN().eval(), torch.rand(2, 1, 8, 8))
    paths = [checkpoints[0]]
    for seed in (1, 2, 3):
        paths.append(tmp_path / f"shuffled{seed}.safetensors")
        safetensors.torch.save_file(spec.apply(mine, spec.random(torch.Generator().manual_seed(seed))), paths[-1])
    output = tmp_path / "merged.safetensors"
    result = command(
        *("merge", *paths, "--model", CNN, "--data", data, "-o", output, "--samples", 40),
        *("--strategy", strategy, "--batchnorm", "average"),
    )
    assert result.exit_code == 0, result.output
    for name, tensor in safetensors.torch.load_file(output).items():
        torch.testing.assert_close(tensor, mine[name])
