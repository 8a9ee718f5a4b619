"""What a peer that trains on running statistics takes for its own, and what compiling makes of it."""

from pathlib import Path

import pytest
import torch

from dimat_flwr.peer import caches
from dimat_flwr.peer.learner import Learner
from dimat_flwr.peer.state import PeerState
from tests.in_process_app import ROOT, run_app

WORDS = (
    "model.width=1 dataset.train_samples=90 dataset.test_samples=60 training.pretrain_epochs=1 training.local_steps=3 "
    "evaluate.save_models=false batchnorm.frozen=true"
)


@pytest.mark.parametrize("policy", ["keep", "average"])
def test_the_gradient_at_a_mean_model_is_that_of_who_adopts_it(policy: str) -> None:
    words = f"{WORDS} batchnorm.policy={policy}"
    config = caches.configuration({"algorithm": "weight_averaging", "overrides": words}, {}, ROOT / "conf")
    learner = Learner(config, PeerState(), peer=0, peers=2, round=1, rounds=2, simulation=True)
    learner.pretrain()
    mine = learner.state_dict()
    mean = {name: 1.1 * own if own.is_floating_point() else own for name, own in mine.items()}
    found = learner.full_gradient(mean)
    assert all(torch.equal(own, mine[name]) for name, own in learner.tensors().items())
    learner.adopt(mean)
    expected = learner.full_gradient(learner.state_dict())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=0, atol=0)
    learner.adopt(mine)
    with_mine = learner.full_gradient({**mean, **{name: mine[name] for name in mine if "running" in name}})
    assert all(torch.equal(found[name], with_mine[name]) for name in found) == (policy == "keep")


def test_a_compiled_network_trains_on_what_is_frozen_after_it_has_trained_on_what_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One process compiles for both modes, and must not take one program for the other."""
    compile_it, compiled = torch.compile, []

    def without_compiler(network: torch.nn.Module) -> object:
        compiled.append(network)
        return compile_it(network, backend="eager")

    monkeypatch.setattr(torch, "compile", without_compiler)
    settings = {"rounds": 2, "algorithm": "weight_averaging"}
    words = f"{WORDS} batchnorm.policy=keep"
    plain = run_app(tmp_path / "plain", 2, overrides=words, **settings)
    assert not compiled
    traced = run_app(tmp_path / "traced", 2, overrides=f"{words} training.compile=true", **settings)
    assert len(compiled) == 1
    for name, tensor in plain.model(0).items():
        torch.testing.assert_close(traced.model(0)[name], tensor, rtol=1e-4, atol=1e-5, msg=name)
