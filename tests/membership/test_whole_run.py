"""The whole app in this process while peers leave and come: relay, peers and record."""

import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.launch import launch
from dimat_flwr.relay import MembershipError, run_relay
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import to_record
from tests.in_process_app import ROOT, Run
from tests.membership.devices import LIFE, QUICK, TABLE, Devices, lived, settings_of

DIGITS = (
    "relay.peers=5 relay.join=any_time checkpoint.save=never training.pretrain_epochs=2 training.local_epochs=1 "
    "model.width=2 dataset.train_samples=700 dataset.test_samples=200 evaluate.save_models=false batchnorm.samples=60"
)


@pytest.mark.slow
def test_two_leave_and_one_comes_and_reaches_the_others_accuracy_within_three_rounds(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{DIGITS} algorithm.matching.samples=60", rounds=8)
    run = lived(settings, 6, breaks={1: 2, 3: 3}, comes={5: 3}, places={5: 3})
    summary = run.summary
    (joined,) = run.events("joined")
    assert joined["peer"] == 3
    assert joined["round"] <= 6
    merged = {(e["round"], e["peer"]): e["accuracy"] for e in run.events("evaluation") if e["stage"] == "after_merge"}
    first, third = joined["round"], joined["round"] + 2
    others = statistics.fmean(merged[first, peer] for peer in (0, 2, 4))
    assert merged[first, 3] > others - 6.0, "with weights of its own it is 17 points behind"
    others = statistics.fmean(merged[third, peer] for peer in (0, 2, 4))
    assert merged[third, 3] > others - 3.0, "in its third round"
    assert others > 85
    assert {peer for round, peer in merged if round == 8} == {0, 2, 3, 4}, "the rounds go on"
    last = [e for e in run.events("merge") if e["round"] == 8]
    assert {e["peer"]: e["sources"] for e in last} == {0: [2, 4], 2: [0, 3], 3: [2, 4], 4: [0, 3]}, "a ring of four"
    assert summary["status"] == "incomplete"
    assert summary["lost_peers"] == {"1": 2}
    assert summary["joined"] == {"3": joined["round"]}
    assert summary["parts"] is None
    assert summary["final_peers"] == {"reported": 4, "of": 5}


@pytest.mark.parametrize("frozen", ["false", "true"])
def test_who_comes_begins_with_a_neighbours_statistics_where_peers_keep_their_own(tmp_path: Path, frozen: str) -> None:
    """It has none of its own: with frozen ones it would never have any."""
    words = f"{QUICK} training.local_steps=null training.local_epochs=0 batchnorm.policy=keep batchnorm.frozen={frozen}"
    run = lived(settings_of(tmp_path, words, **TABLE | {"rounds": 6}), 6, **LIFE)
    (joined,) = run.events("joined")
    first = int(next(e["values"]["with_model_of"] for e in run.events("note") if e["name"] == "joined"))
    assert joined["peer"] == 3
    mine, theirs = run.model(3), run.model(first)
    names = [name for name in mine if name.endswith(("running_mean", "running_var"))]
    assert len(names) == 4
    assert all(torch.equal(mine[name], theirs[name]) for name in names)
    assert not torch.equal(mine[names[0]], torch.zeros_like(mine[names[0]]))


def test_spare_nodes_of_whatever_id_keep_nobody_out_of_his_place(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, QUICK, **{**TABLE, "rounds": 1})
    run = lived(settings, 7, places={0: 8, 1: 9, **{node: node - 2 for node in range(2, 7)}})
    assert run.summary["status"] == "completed"
    assert {e["peer"] for e in run.events("merge")} == set(range(5))


def test_a_run_is_not_in_parts_because_a_place_is_vacant_and_the_graph_is_small(tmp_path: Path) -> None:
    overrides = f"{QUICK} relay.min_peers=3 schedule.share=0.1"
    settings = settings_of(tmp_path, overrides, **{**TABLE, "rounds": 1, "schedule": "partial"})
    summary = lived(settings, 5, comes={1: 10**9}).summary
    assert (summary["vacant"], summary["lost_peers"]) == ([1], {})
    assert (summary["status"], summary["parts"]) == ("completed", None), "as where all five are there"


def test_too_few_are_too_few(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{QUICK} relay.min_peers=3", **TABLE)
    too_few = "2 peers are there, the run needs at least 3: nobody is in place 1, 3, 4"
    with pytest.raises(MembershipError, match=too_few):
        lived(settings, 5, comes=dict.fromkeys((1, 3, 4), 10**9))


def test_a_run_whose_graph_cannot_be_drawn_over_those_who_are_there_does_not_begin(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, f"{QUICK} relay.peers=6 relay.min_peers=5 topology=torus", **TABLE)
    with pytest.raises(Exception, match="torus"):
        lived(settings, 5)


def some(first: str, *others: str) -> list[Any]:
    """Return parameters of which the first is always tried, the others with what is slow."""
    return [first, *(pytest.param(other, marks=pytest.mark.slow) for other in others)]


@pytest.mark.parametrize("codec", some("top_k", "int8"))
def test_a_newcomer_reads_a_lossy_codec_from_its_first_payload_on(tmp_path: Path, codec: str) -> None:
    run = lived(settings_of(tmp_path, QUICK, codec=codec, **TABLE), 6, **LIFE)
    assert run.events("rejected") == []
    assert {e["peer"] for e in run.events("merge") if e["round"] == 10} == {0, 2, 3, 4}


@pytest.mark.parametrize(
    "algorithm",
    some(
        "gossip", "dimat", "weight_matching", "aligned_averaging", "cdsgd", "cdmsgd", "qg_dsgdm", "fedavg", "epidemic"
    ),
)
def test_every_algorithm_that_says_so_takes_newcomers(tmp_path: Path, algorithm: str) -> None:
    plain = " optimizer=sgd" if algorithm in ("cdmsgd", "qg_dsgdm") else ""
    more = " algorithm.gossip_steps=2" if algorithm == "gossip" else ""
    settings = settings_of(tmp_path, f"{QUICK}{plain}{more}", **{**TABLE, "algorithm": algorithm})
    run = lived(settings, 6, **LIFE)
    (note,) = (e for e in run.events("note") if e["name"] == "joined")
    assert note["peer"] == 3
    assert {e["peer"] for e in run.events("merge") if e["round"] == 10} == {0, 2, 3, 4}
    assert run.summary["lost_peers"] == {"1": 2}


@pytest.mark.parametrize("algorithm", some("sgp", "gradient_tracking", "damsgrad", "choco", "cga", "relaysgd"))
def test_a_lost_peer_is_no_trouble_to_those_who_take_no_newcomers(tmp_path: Path, algorithm: str) -> None:
    more = {"relaysgd": " topology=chain", "gradient_tracking": " topology.weighting=metropolis_hastings"}
    overrides = QUICK.replace("relay.join=any_time", "") + " optimizer=sgd" + more.get(algorithm, "")
    run = lived(settings_of(tmp_path, overrides, **{**TABLE, "algorithm": algorithm}), 5, breaks={1: 2})
    assert run.summary["lost_peers"] == {"1": 2}
    assert len(run.events("redrawn")) == (algorithm != "relaysgd")
    assert {e["peer"] for e in run.events("evaluation") if e["round"] == 10} == {0, 2, 3, 4}


@pytest.mark.parametrize(
    ("overrides", "algorithm", "message"),
    [
        ("relay.join=any_time", "sgp", "takes no newcomers"),
        ("relay.join=any_time", "relaysgd", "takes no newcomers"),
        ("relay.join=any_time correction=scaffold optimizer=sgd", "weight_averaging", "one mixing matrix"),
        ("relay.join=any_time security.sign=true", "dimat", "security.sign does not go with relay.join=any_time"),
        ("relay.peers=4 relay.min_peers=3 security.sign=true", "dimat", "does not go with relay.min_peers"),
        ("relay.min_peers=3", "dimat", "set peers"),
        ("relay.peers=3 relay.min_peers=4", "dimat", "at most as many"),
        ("relay.join=sometimes", "dimat", "relay.join"),
        ("relay.leavers=stay", "dimat", "relay.leavers"),
    ],
)
def test_what_does_not_go_together_is_refused(overrides: str, algorithm: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config({"algorithm": algorithm, "overrides": overrides}, {}, ROOT / "conf")


class Hostile(Devices):
    """Node 5 comes and publishes what is no payload; 6 to 8 claim places that are taken, or that there are not."""

    def answer(self, peer: int, kind: str, content: RecordDict) -> RecordDict:
        reply = super().answer(peer, kind, content)
        if peer == 5 and names.outbox(None) in reply:
            reply[names.outbox(None)] = to_record(b"\xff" * 1000)
        return reply


def test_hostile_newcomers_harm_nobody(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, QUICK, **TABLE)
    post = Hostile(9, settings, {3: 2}, dict.fromkeys((5, 6, 7, 8), 3), {5: 3, 6: 0, 7: 2, 8: 99})
    run = Run(launch(settings, ROOT / "conf", "pytest", lambda *known: run_relay(post, *known, clock=post.clock)))
    assert run.summary["status"] == "completed"
    assert [event["peer"] for event in run.events("joined")] == [3]
    assert [(event["peer"], event["round"]) for event in run.events("failure")] == [(3, 2)]
    rejected = run.events("rejected")
    assert rejected
    assert {event["source"] for event in rejected} == {3}
    assert {e["peer"]: e["sources"] for e in run.events("merge") if e["round"] == 10} == {
        0: [1, 4], 1: [0, 2], 2: [1], 3: [2, 4], 4: [0]
    }  # fmt: skip
    assert post.asked.issuperset({6, 7, 8})
    assert not post.worked & {6, 7, 8}
