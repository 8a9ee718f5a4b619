"""Instruments where they may not be, and where peers fail, lie or diverge: the run goes on, the record says so."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict
from safetensors.torch import load

from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.local.post import Intercept
from dimat_flwr.relay import PlanError, SetupError
from dimat_flwr.wire import names
from dimat_flwr.wire.payload import Payload, from_record, pack, to_record
from dimat_flwr.wire.report import Report
from tests.in_process_app import ROOT, Run, run_app

QUICK = "training.pretrain_epochs=1 training.local_epochs=1 dataset.train_samples=120"
State = dict[str, torch.Tensor]


def run(output: Path, overrides: str = "", **settings: Any) -> Run:
    return run_app(
        output, 3, overrides=f"{QUICK} {overrides}",
        **{"rounds": 2, "dataset": "breast_cancer", "model": "mlp", "algorithm": "weight_averaging"} | settings,
    )  # fmt: skip


def answer(victim: int, number: int, change: Callable[[RecordDict], RecordDict]) -> Intercept:
    """Return an interceptor that changes a peer's answer to its exchange of that number."""
    seen = {"answers": -1}

    def intercept(place: int, kind: str, reply: RecordDict) -> RecordDict:
        if place == victim and kind == names.EXCHANGE_MESSAGE:
            seen["answers"] += 1
            if seen["answers"] == number:
                return change(reply)
        return reply

    return intercept


def pulled(reply: RecordDict) -> RecordDict:
    return RecordDict({names.REPORT: Report(error="pulled the plug").to_record()})


def publishing(change: Callable[[State], State]) -> Callable[[RecordDict], RecordDict]:
    def changed(reply: RecordDict) -> RecordDict:
        reply[names.outbox(None)] = to_record(pack(Payload(change(load(from_record(reply[names.outbox(None)]))))))
        return reply

    return changed


@pytest.mark.parametrize("instrument", ["counterfactual", "consensus", "gradient"])
def test_outside_a_simulation_no_models_are_gathered_unless_asked_for(tmp_path: Path, instrument: str) -> None:
    with pytest.raises(SetupError, match=r"was trained. every peer: .*set instruments\.outside_simulation=true"):
        run(tmp_path, f"instruments.{instrument}=true", simulation=False)


def test_outside_a_simulation_they_work_where_asked_for(tmp_path: Path) -> None:
    inside = run(tmp_path / "in", instruments="all")
    outside = run(tmp_path / "out", "instruments.outside_simulation=true", instruments="all", simulation=False)
    assert outside.events() == inside.events()
    aligning = run(tmp_path / "a", "instruments.alignment=true", algorithm="weight_matching", simulation=False)
    assert len(aligning.events("units_moved")) == 6


def test_the_observer_is_one_of_the_peers(tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"there is no peer 3 among 3; lower instruments\.observer"):
        run(tmp_path, "instruments.observer=3", instruments="all")
    with pytest.raises(ConfigError, match=r"instruments\.every: Input should be greater than or equal to 1"):
        load_config({"overrides": "instruments.every=0"}, {}, ROOT / "conf")


@pytest.mark.parametrize("number", [1, 2, 3, 4, 5])
def test_without_the_observer_the_others_go_on(tmp_path: Path, number: int) -> None:
    """Numbers: models, mean and gradients of round 0, the merge of round 1, its models."""
    found = run(tmp_path, instruments="all", rounds=3, intercept=answer(0, number, pulled))
    summary = found.summary
    assert (summary["status"], summary["lost_peers"].keys()) == ("incomplete", {"0"})
    assert summary["final_peers"] == {"reported": 2, "of": 3}
    assert max(event["round"] for event in found.events("merge")) == 3
    observed = found.events("counterfactual") + found.events("consensus") + found.events("gradient_norm")
    assert all(event["round"] <= 1 for event in observed)
    assert found.events("rejected") == []
    (silent,) = found.events("unobserved")
    assert (silent["peer"], silent["exchange"].startswith("observe.")) == (0, True)
    assert silent["round"] == (0 if number <= 3 else 1)


def test_without_another_peer_the_mean_is_over_those_left(tmp_path: Path) -> None:
    found = run(tmp_path, instruments="all", intercept=answer(2, 4, pulled))
    assert [event["models"] for event in found.events("consensus")] == [3, 2, 2, 2]
    assert {event["models"] for event in found.events("counterfactual") if event["round"] == 2} == {2}


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {name: torch.full_like(tensor, torch.nan) for name, tensor in state.items()},
        lambda state: {**state, "more": torch.zeros(1)},
    ],
)
def test_a_bad_payload_is_rejected_and_the_mean_is_over_the_others(
    tmp_path: Path, change: Callable[[State], State]
) -> None:
    found = run(tmp_path, instruments="all", intercept=answer(1, 0, publishing(change)))
    (rejected,) = found.events("rejected")
    assert (rejected["peer"], rejected["source"], rejected["exchange"]) == (0, 1, "observe.models")
    assert [event["models"] for event in found.events("consensus")] == [2, 3, 3, 3]
    assert found.summary["status"] == "completed"


def test_nobody_is_blamed_for_an_infinite_gradient_at_the_mean(tmp_path: Path) -> None:
    def enlarge(state: State) -> State:
        return {name: tensor * 1e15 if tensor.is_floating_point() else tensor for name, tensor in state.items()}

    found = run(tmp_path, instruments="all", rounds=1, intercept=answer(1, 0, publishing(enlarge)))
    told = {event["values"]["text"] for event in found.events("note") if event["round"] == 0}
    assert told == {"observe.mean cannot be measured: the gradient of all samples holds NaN or infinite values"}
    assert found.events("rejected") == []


def test_a_mean_that_cannot_be_measured_is_a_warning_and_no_failure(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def ruin(state: State) -> State:
        return {name: torch.full_like(tensor, 1e30) for name, tensor in state.items()}

    found = run(tmp_path / "ruined", instruments="all", intercept=answer(1, 0, publishing(ruin)))
    warnings = [event for event in found.events("note") if event["round"] == 0]
    assert {event["values"]["of"] for event in warnings} == {"instruments"}
    assert "observe.mean cannot be measured: the loss of a minibatch" in caplog.text
    assert found.events("failure") == []
    assert found.events("rejected") == [], "nobody is to blame for a gradient that there is not"
    plain = run(tmp_path / "plain")
    assert [final["sha256"] for final in found.summary["final"]] == [f["sha256"] for f in plain.summary["final"]]
