"""Settings that change how fast a peer computes: they reach its network, and are refused where they cannot."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import torch

from dimat_flwr import nvidia
from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.models import DigitsCNN
from dimat_flwr.peer import caches
from dimat_flwr.relay import SetupError
from tests.in_process_app import ROOT, Run, run_app

QUICK = "dataset.train_samples=200 model.width=1 training.local_steps=2 training.pretrain_epochs=0 optimizer=sgd"
CPU = torch.device("cpu")


def run(output: Path, overrides: str, **settings: object) -> Run:
    return run_app(output, 2, rounds=2, algorithm="weight_averaging", overrides=overrides, **settings)


def assert_close(one: Run, other: Run) -> None:
    mine, theirs = one.model(0), other.model(0)
    assert mine.keys() == theirs.keys()
    for name, tensor in mine.items():
        torch.testing.assert_close(tensor, theirs[name], rtol=1e-3, atol=1e-4)


def test_channels_last_orders_the_network_and_changes_no_more_than_rounding(tmp_path: Path) -> None:
    words = f"{QUICK} training.channels_last=always"
    ordered, plain = run(tmp_path / "ordered", words), run(tmp_path / "plain", QUICK)
    config = caches.configuration({"algorithm": "weight_averaging", "overrides": words}, {}, ROOT / "conf")
    weight = caches.shell(config, CPU).network.features[3].weight
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert not weight.is_contiguous()
    assert_close(ordered, plain)


def test_channels_last_is_refused_where_nothing_has_channels(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"channels_last=always orders .* model 'mlp' has none; leave it at auto"):
        run(tmp_path, "dataset=breast_cancer model=mlp training.channels_last=always")


def test_channels_last_goes_with_privacy(tmp_path: Path) -> None:
    words = f"{QUICK} model._target_=tests.peer.plain_convolutions.PlainConvolutions privacy.noise_multiplier=1"
    plain = run(tmp_path / "plain", words)
    assert_close(run(tmp_path / "ordered", f"{words} training.channels_last=always"), plain)


def test_compiling_is_refused_without_a_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(SetupError, match=r"training.compile: no C\+\+ compiler is here .* set training.compile=false"):
        run(tmp_path, f"{QUICK} training.compile=true")


def test_compiling_does_not_go_with_privacy() -> None:
    overrides = "training.compile=true privacy.noise_multiplier=1 batchnorm.policy=average"
    with pytest.raises(ConfigError, match=r"set training\.compile=false"):
        load_config({"algorithm": "weight_averaging", "overrides": overrides}, {}, ROOT / "conf")


@pytest.mark.slow
def test_what_a_process_did_before_does_not_decide_how_a_batch_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    programs: list[int] = []
    ran: list[int] = []

    def counting(graph: torch.fx.GraphModule, _: object) -> Callable[..., object]:
        number = len(programs)
        programs.append(number)
        return lambda *inputs: (ran.append(number), graph(*inputs))[1]

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=counting))
    for width in range(1, 11):  # torch gives up after eight of a kind
        compiled = caches.Shell(DigitsCNN(width=width)).compiled
        for samples in (17, 32, 19, 32):
            compiled(torch.randn(samples, 1, 8, 8))
    assert programs == list(range(10))
    assert ran == [number for number in programs for _ in range(4)]


@pytest.mark.slow
def test_a_compiled_run_does_what_a_plain_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    compile_it = torch.compile

    def counted(network: torch.nn.Module) -> object:
        compiled = compile_it(network)
        return lambda inputs: (calls.append(len(inputs)), compiled(inputs))[1]

    monkeypatch.setattr(torch, "compile", counted)
    plain = run(tmp_path / "plain", QUICK)
    assert not calls
    compiled = run(tmp_path / "compiled", f"{QUICK} training.compile=true")
    assert calls == [32] * 4  # two peers, two steps in the one round that trains
    assert_close(compiled, plain)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_on_cuda_computes_in_bfloat16_and_channels_last(tmp_path: Path) -> None:
    words = f"{QUICK} training.device=cuda"
    run(tmp_path, words)
    config = caches.configuration({"algorithm": "weight_averaging", "overrides": words}, {}, ROOT / "conf")
    weight = caches.shell(config, torch.device("cuda", 0)).network.features[3].weight
    assert weight.is_cuda
    assert weight.is_contiguous(memory_format=torch.channels_last)


def test_one_peer_tells_of_a_gpu_that_stays_unused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(nvidia, "has_gpu", lambda: True)
    monkeypatch.delenv(nvidia.VISIBLE, raising=False)
    (told,) = [event for event in run(tmp_path, QUICK).events("note") if event["name"] == "warning"]
    assert (told["peer"], told["round"]) == (0, 0)
    assert told["values"]["text"].endswith("or set training.device=cpu")  # nothing is cut off
