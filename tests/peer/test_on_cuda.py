"""Whole runs on a stand-in for a CUDA device: nothing meets that lies on two devices, and the numbers are the CPU's."""

from pathlib import Path

import pytest
import torch

from dimat_flwr.config import ConfigError
from dimat_flwr.peer import caches
from tests.cuda_stand_in import CUDA, standing_in_for_cuda
from tests.in_process_app import ROOT, Run, run_app

QUICK = (
    "dataset.train_samples=90 dataset.test_samples=60 model.width=1 training.local_steps=1 training.pretrain_epochs=0 "
    "training.precision=float32 evaluate.save_models=false"
)
CASES = [
    ("weight_averaging", "correction=scaffold optimizer=sgd"),  # slots that nobody asks for in the last exchange
    ("dimat", "aggregation=median algorithm.matching.samples=30"),
    ("gossip", "codec=top_k instruments=all optimizer=momentum"),
    ("aligned_averaging", "checkpoint.save=always optimizer=amsgrad"),
    ("cga", "optimizer=sgd batchnorm.policy=average"),
    ("weight_averaging", "aggregation=trust aggregation.samples=10 topology=fully_connected final_merge=aligned"),
]


def run(output: Path, algorithm: str, overrides: str, device: str) -> Run:
    return run_app(output, 3, rounds=2, algorithm=algorithm, overrides=f"{QUICK} {overrides} training.device={device}")


@pytest.mark.parametrize(
    ("algorithm", "overrides"), [CASES[0], *(pytest.param(*case, marks=pytest.mark.slow) for case in CASES[1:])]
)
def test_a_run_on_cuda_does_what_it_does_on_the_cpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, algorithm: str, overrides: str
) -> None:
    expected = run(tmp_path / "cpu", algorithm, overrides, "cpu")
    with standing_in_for_cuda(monkeypatch):
        found = run(tmp_path / "cuda", algorithm, overrides, "cuda")
    assert found.summary["status"] == expected.summary["status"] == "completed"
    assert found.events("rejected") == found.events("failure") == []
    for name, tensor in expected.model(0).items():
        torch.testing.assert_close(found.model(0)[name], tensor, rtol=1e-3, atol=1e-4)


def test_a_network_that_refuses_channels_last_is_trained_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = "model._target_=tests.peer.tutorial_network.TutorialNetwork"
    with standing_in_for_cuda(monkeypatch):
        found = run(tmp_path, "weight_averaging", words, "cuda")
        config = caches.configuration({"algorithm": "weight_averaging", "overrides": words}, {}, ROOT / "conf")
        assert caches.shell(config, CUDA).network.second.weight.is_contiguous()
        ours = caches.configuration({"overrides": "model.width=1"}, {}, ROOT / "conf")
        assert caches.shell(ours, CUDA).network.features[3].weight.is_contiguous(memory_format=torch.channels_last)
    assert found.summary["status"] == "completed"
    assert found.events("failure") == []


def test_a_network_for_volumes_is_trained_beside_one_for_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch lays tensors of images out with channels last, and raises where it is asked to do so with volumes."""
    words = "model._target_=tests.peer.tutorial_network.Volumes"
    with standing_in_for_cuda(monkeypatch):
        config = caches.configuration({"overrides": words}, {}, ROOT / "conf")
        network = caches.shell(config, CUDA).network
        assert network.volumes.weight.is_contiguous()
        assert network.images.weight.is_contiguous(memory_format=torch.channels_last)


def test_memory_that_does_not_suffice_says_nothing_of_channels_last(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "model._target_=tests.peer.tutorial_network.TooLarge"
    with standing_in_for_cuda(monkeypatch):
        config = caches.configuration({"overrides": words}, {}, ROOT / "conf")
        with pytest.raises(ConfigError, match="CUDA out of memory"):
            caches.shell(config, CUDA)


def test_trying_a_network_out_leaves_no_trace_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    words = "model._target_=tests.peer.tutorial_network.Counting"
    with standing_in_for_cuda(monkeypatch):
        config = caches.configuration({"overrides": words}, {}, ROOT / "conf")
        network = caches.shell(config, CUDA).network
        assert (int(network.kept), int(network.passing)) == (0, 0)
        network(config.dataset.example_input(2).to(CUDA))
        assert (int(network.kept), int(network.passing)) == (1, 1)
