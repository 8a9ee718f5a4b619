"""The first weights from a file: those of the file and no others, checked before anybody trains."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.relay import SetupError
from tests.in_process_app import ROOT, Run, run_app

QUICK = "dataset.train_samples=200 model.width=1 training.local_epochs=0 training.pretrain_epochs="
BIAS = "classifier.bias"
State = dict[str, Tensor]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run_app(tmp_path_factory.mktemp("saved"), 3, rounds=0, overrides=f"{QUICK}1")


def start(output: Path, file: str, **settings: bool) -> Run:
    overrides = f"{QUICK}0 training.initialization=file \"training.initialization_file='{file}'\""
    return run_app(output, 3, rounds=0, overrides=overrides, **settings)


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_everybody_starts_from_one_file(tmp_path: Path, saved: Run) -> None:
    run = start(tmp_path, str(saved.folder / "models" / "peer-1.safetensors"))
    for peer in range(3):
        assert_same(run.model(peer), saved.model(1))
    measured = {event["accuracy"] for event in run.events("final")}
    assert measured == {event["accuracy"] for event in saved.events("final") if event["peer"] == 1}


def test_each_peer_starts_from_a_file_of_its_own(tmp_path: Path, saved: Run) -> None:
    run = start(tmp_path, str(saved.folder / "models" / "peer-{peer}.safetensors"))
    for peer in range(3):
        assert_same(run.model(peer), saved.model(peer))


def without(state: State) -> State:
    return {name: tensor for name, tensor in state.items() if name != BIAS}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (without, f"missing: '{BIAS}'"),
        (lambda state: {**state, "more": torch.zeros(1)}, "unknown: 'more'"),
        (lambda state: {**state, BIAS: torch.zeros(3)}, f"of another shape: '{BIAS}' (3,) instead of (10,)"),
        (
            lambda state: {**state, BIAS: state[BIAS].double()},
            f"of another type: '{BIAS}' torch.float64 instead of torch.float32",
        ),
        (lambda state: {**state, BIAS: torch.full((10,), torch.nan)}, f"not finite: '{BIAS}'"),
        (lambda state: {**without(state), "x": torch.zeros(1)}, f"missing: '{BIAS}'; unknown: 'x'"),
        (lambda state: {}, "missing: 'features.0.weight', "),
    ],
)
def test_a_file_that_does_not_fit_is_refused_before_anybody_trains(
    tmp_path: Path, saved: Run, change: Callable[[State], State], told: str
) -> None:
    path = tmp_path / "first.safetensors"
    save_file(change(load_file(saved.folder / "models" / "peer-0.safetensors")), path)
    with pytest.raises(SetupError) as caught:
        start(tmp_path / "out", str(path))
    text = str(caught.value)
    assert text.startswith(f"nothing was trained. every peer: training.initialization_file: {path} does not fit model")
    assert told in text
    assert "\n" not in text


def test_a_file_that_is_not_there_or_no_safetensors_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no tensors")
    nothing, text = tmp_path / "nothing", tmp_path / "text"
    for name, told in (("nothing", f"there is no file {nothing}"), ("text", f"{text} cannot be read as safetensors")):
        with pytest.raises(SetupError, match=f"every peer: .*{told}"):
            start(tmp_path / "out", str(tmp_path / name))


def test_the_one_peer_whose_file_is_missing_is_named(tmp_path: Path, saved: Run) -> None:
    for peer in (0, 2):
        save_file(saved.model(peer), tmp_path / f"{peer}.safetensors")
    with pytest.raises(SetupError, match=r"nothing was trained. peer 1: .*there is no file .*1\.safetensors;"):
        start(tmp_path / "out", str(tmp_path / "{peer}.safetensors"))


def test_a_peer_without_a_place_cannot_have_a_file_of_its_own(tmp_path: Path) -> None:
    from dimat_flwr.peer.errors import PeerSetupError
    from dimat_flwr.peer.initial_state import check_initial_file

    settings = "training.initialization=file \"training.initialization_file='/x/{peer}.safetensors'\""
    config = load_config({"overrides": settings}, {}, ROOT / "conf")
    with pytest.raises(PeerSetupError, match="give its SuperNode a partition-id"):
        check_initial_file(config, {}, -1)


@pytest.mark.parametrize(
    "overrides", ["training.initialization=file", "training.initialization_file=/x", "training.initialization=none"]
)
def test_a_file_and_the_choice_of_it_go_together(overrides: str) -> None:
    with pytest.raises(ConfigError, match="training"):
        load_config({"overrides": overrides}, {}, ROOT / "conf")
