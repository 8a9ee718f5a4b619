"""Whole runs with privacy: what is told and what is not, what is refused, and who can make the numbers again."""

from pathlib import Path
from typing import Any

import pytest
import torch
from flwr.app import RecordDict

from dimat_flwr.algorithms.registry import available_algorithms
from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.learning import epsilon, steps_taken
from dimat_flwr.peer.messages import handle
from dimat_flwr.peer.state import PeerState, load_state, save_state
from dimat_flwr.relay.membership import SetupError
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction, Next
from dimat_flwr.wire.report import read_report
from tests.in_process_app import ROOT, Run, run_app

CONF = ROOT / "conf"
PRIVATE = "privacy.noise_multiplier=1.5"
NETWORK = "model.in_features=64 model.width=6 model.batchnorm=false"
SMALL = f"dataset.train_samples=90 dataset.test_samples=60 training.pretrain_epochs=1 training.local_epochs=1 {NETWORK}"
KEEPING = {
    "weight_averaging", "weight_matching", "aligned_averaging", "gossip", "epidemic", "choco", "relaysgd", "sgp",
    "cdsgd", "cdmsgd", "gradient_tracking", "qg_dsgdm", "damsgrad", "fedavg", "local_only",
}  # fmt: skip


def run(output: Path, overrides: str = PRIVATE, *, simulation: bool = True, **settings: Any) -> Run:
    chosen = {"algorithm": "weight_averaging", "model": "mlp", "rounds": 1, **settings}
    return run_app(output, 3, overrides=f"{SMALL} {overrides}", simulation=simulation, **chosen)


def failures(output: Path, overrides: str) -> list[dict[str, Any]]:
    with pytest.raises(SetupError, match="every peer failed"):
        run(output, overrides)
    return Run(next(output.iterdir())).events("failure")


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return run(tmp_path_factory.mktemp("private"), rounds=2)


def test_losses_and_shares_of_classes_are_withheld_and_counts_are_expected_ones(private: Run) -> None:
    trained, measured, final = (private.events(kind) for kind in ("training", "evaluation", "final"))
    assert len(trained) == 6
    assert {(event["loss"], event["samples"], event["steps"]) for event in trained} == {(None, 30, 1)}
    assert len(measured) > 6
    assert {event["local_accuracy"] for event in [*measured, *final]} == {None}
    assert all(event["accuracy"] is not None and event["loss"] is not None for event in [*measured, *final])


def test_epsilon_is_told_after_each_training_and_in_the_summary(private: Run) -> None:
    for peer in range(3):
        told = [event for event in private.events("privacy") if event["peer"] == peer]
        rate = min(1.0, 32 / 30)
        assert [event["epsilon"] for event in told] == [epsilon([(1.5, rate, steps)], 1e-5) for steps in (1, 2)]
        assert [event["steps"] for event in told] == [1, 2]
    largest = max(event["epsilon"] for event in private.events("privacy"))
    assert private.summary["privacy"] == {"epsilon": largest, "delta": 1e-5, "peers": 3}
    page = (private.folder / "report.html").read_text()
    assert f"epsilon at most {largest:.2f} at delta 1e-05" in page
    assert f"<b>{largest:.2f}</b>" in page


def test_a_run_without_privacy_tells_none(tmp_path: Path) -> None:
    found = run(tmp_path, "")
    assert found.summary["privacy"] is None
    assert found.events("privacy") == []
    assert all(event["loss"] is not None for event in found.events("training"))
    assert "epsilon" not in (found.folder / "report.html").read_text().split("<h2>The run</h2>")[0]


def test_simulations_can_be_made_again_and_other_seeds_draw_anew(tmp_path: Path, private: Run) -> None:
    again, other = run(tmp_path / "again", rounds=2), run(tmp_path / "other", rounds=2, seed=1)
    models = [[found.model(peer) for peer in range(3)] for found in (private, again, other)]
    assert again.events() == private.events()
    assert all(torch.equal(tensor, models[1][p][name]) for p in range(3) for name, tensor in models[0][p].items())
    assert not torch.equal(models[0][0]["classifier.weight"], models[2][0]["classifier.weight"])


@pytest.mark.parametrize(
    ("simulation", "overrides", "alike"),
    [(True, "", True), (True, " privacy.secret=always", False), (False, "", False)],
    ids=["simulation", "secret", "outside"],
)
def test_noise_is_secret_outside_of_simulations(tmp_path: Path, simulation: bool, overrides: str, alike: bool) -> None:
    found = [
        run(tmp_path / name, PRIVATE + overrides, simulation=simulation, rounds=0).model(0) for name in ("one", "two")
    ]
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0]) is alike


def test_noise_of_several_trainings_in_a_round_differs(tmp_path: Path) -> None:
    """No step's randomness comes again: more steps in a row are other ones, whatever the round's number."""
    settings = PRIVATE + " training.local_steps=2 training.pretrain_epochs=0 optimizer=sgd"
    found = run(tmp_path, settings, rounds=2, algorithm="cdsgd")
    assert [event["steps"] for event in found.events("privacy") if event["peer"] == 0] == [2]
    assert {event["samples"] for event in found.events("training")} == {60}


def test_what_was_spent_is_kept_between_messages() -> None:
    records = RecordDict()
    save_state(PeerState(spent=[(1.5, 0.1 + 0.2, 7), (2.0, 1.0, 1)]), records)
    assert load_state(records).spent == [(1.5, 0.1 + 0.2, 7), (2.0, 1.0, 1)]


def fault(overrides: str = "", **settings: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        load_config({"model": "mlp", "algorithm": "weight_averaging", "overrides": f"{NETWORK} {PRIVATE} {overrides}",
                     **settings}, {}, CONF)  # fmt: skip
    assert len(caught.value.problems) == 1
    return str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", available_algorithms(CONF))
def test_algorithms_that_look_at_samples_are_refused_and_no_others(algorithm: str) -> None:
    steps = " training.local_steps=1" if algorithm in ("cga", "damsgrad") else ""
    settings = {"model": "mlp", "algorithm": algorithm, "overrides": NETWORK + steps}
    load_config(settings, {}, CONF)
    if algorithm in KEEPING:
        load_config({**settings, "overrides": f"{NETWORK} {PRIVATE}{steps}"}, {}, CONF)
    else:
        assert f"privacy: algorithm '{algorithm}' looks at a peer's samples" in fault(steps, algorithm=algorithm)


def test_what_else_looks_at_samples_is_refused(tmp_path: Path) -> None:
    matching = "+algorithm.matching.samples=10"
    assert "algorithm 'aligned_averaging'" in fault(matching, algorithm="aligned_averaging")
    assert "final_merge 'aligned' looks" in fault(final_merge="aligned")
    assert "aggregation 'trust' looks" in fault(aggregation="trust")
    assert "set instruments.gradient=false" in fault("instruments.gradient=true")
    told = fault(dataset="breast_cancer")
    assert "dataset 'breast_cancer' standardizes by means and deviations of the samples themselves" in told
    for name in ("none", "uniform", "gossip"):
        load_config({"model": "mlp", "algorithm": "weight_averaging", "final_merge": name,
                     "overrides": f"{NETWORK} {PRIVATE}"}, {}, CONF)  # fmt: skip
    known = " ".join(f"dataset.{name}=[{','.join(['2'] * 30)}]" for name in ("mean", "std"))
    load_config({"model": "mlp", "dataset": "breast_cancer", "algorithm": "weight_averaging",
                 "overrides": f"model.batchnorm=false {PRIVATE} {known}"}, {}, CONF)  # fmt: skip


@pytest.mark.parametrize("value", ["0", "-1", "inf", "nan", "much"])
def test_noise_is_a_positive_number(value: str) -> None:
    with pytest.raises(ConfigError, match=r"privacy\.noise_multiplier"):
        load_config({"overrides": f"privacy.noise_multiplier={value}"}, {}, CONF)


def test_a_device_can_insist_on_noise_of_its_own() -> None:
    own = {"noise-multiplier": 2.5, "secret-noise": "always"}
    settings = {"model": "mlp", "algorithm": "weight_averaging", "overrides": NETWORK}
    privacy = load_config(settings, own, CONF).privacy
    assert (privacy.noise_multiplier, privacy.secret) == (2.5, "always")
    with pytest.raises(ConfigError, match="algorithm 'dimat' looks at a peer's samples"):
        load_config({"overrides": NETWORK, "model": "mlp"}, own, CONF)


def test_networks_and_deltas_that_do_not_fit_are_refused_by_the_peers_before_training(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"privacy: BatchNorm1d in 'features.1', 'features.4'"):
        run(tmp_path / "network", f"{PRIVATE} model.batchnorm=true")
    with pytest.raises(SetupError, match=r"privacy.delta 0.05 would allow one of 30 samples to be given away"):
        run(tmp_path / "delta", f"{PRIVATE} privacy.delta=0.05")


@pytest.mark.parametrize(
    ("look", "what"),
    [
        ("next_batch", "a minibatch"),
        ("gradient", "a gradient"),
        ("matching_inputs", "inputs to match on"),
        ("matching_inputs pooled", "training on all peers' samples|inputs to match on"),
        ("pooled", "training on all peers' samples"),
    ],
)
def test_a_peer_gives_nothing_to_an_algorithm_that_says_it_does_not_look(tmp_path: Path, look: str, what: str) -> None:
    settings = f"+algorithm.look='{look}' algorithm._target_=tests.privacy.peeping.Peeping"
    failed = failures(tmp_path, f"{PRIVATE} {settings}")
    assert len(failed) == 3
    assert all("PrivacyError: with privacy there is no" in event["error"] for event in failed)
    assert any(text in failed[0]["error"] for text in what.split("|"))


def test_a_peer_gives_no_loss_to_an_aggregation_that_says_it_does_not_look(tmp_path: Path) -> None:
    settings = "aggregation=trust aggregation._target_=tests.privacy.peeping.Trusting"
    failed = failures(tmp_path, f"{PRIVATE} {settings}")
    assert len(failed) == 3
    assert all("there is no loss on own samples" in event["error"] for event in failed)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", sorted(KEEPING))
def test_every_algorithm_that_is_taken_runs(tmp_path: Path, algorithm: str) -> None:
    topology = "chain" if algorithm == "relaysgd" else "ring"
    steps = " training.local_steps=1" if algorithm == "damsgrad" else ""
    reader = " algorithm.readers=1" if algorithm == "epidemic" else ""
    found = run(tmp_path, PRIVATE + steps + reader, algorithm=algorithm, topology=topology, rounds=2)
    assert found.summary["status"] == "completed"
    assert len(found.summary["final"]) == 3
    assert {event["loss"] for event in found.events("training")} == {None}


class Asked:
    """A peer that a relay may ask for anything."""

    def __init__(self, output: Path, *, simulation: bool = False) -> None:
        self.settings = {
            "algorithm": "local_only", "model": "mlp", "output-dir": str(output),
            "overrides": f"{SMALL} {PRIVATE} checkpoint.save=always",
        }  # fmt: skip
        self.simulation = simulation
        self.records = RecordDict()

    def exchange(self, number: int, after: int) -> int:
        """Let it do an exchange and return the steps that it has counted."""
        coming = Next(round=number + 1, exchange="merge", handler="algorithm", readers=[])
        self._handle(
            names.EXCHANGE_MESSAGE, round=number, number=number, after=after, next=coming,
            exchange="merge" if number else "start", keep=list(range(number)),
        )  # fmt: skip
        found = load_state(self.records)
        assert found.number == number
        return steps_taken(found.spent)

    def restore(self, number: int, keep: list[int]) -> None:
        """Let it go back, as one that a run is gone on with does."""
        self._handle(names.RESTORE_MESSAGE, number=number, keep=keep, resumed=True)

    def start_anew(self) -> None:
        """Lose Flower's memory."""
        self.records = RecordDict()

    def _handle(self, kind: str, **fields: Any) -> None:
        told = Instruction(peer=0, peers=1, run="again", simulation=self.simulation, rounds=9, **fields)
        content = RecordDict({names.INSTRUCTION: told.to_record()})
        reply = handle(kind, content, self.records, self.settings, {}, CONF)
        assert read_report(reply[names.REPORT]).error == ""


def test_a_peer_that_goes_back_counts_what_it_has_published(tmp_path: Path) -> None:
    """A relay that knows of exchange 1 alone asks a peer that has done 2: it trains from there, and forgets nothing."""
    peer = Asked(tmp_path)
    trained = [peer.exchange(number, number - 1) for number in range(3)]
    each = trained[0]
    assert trained == [each, 2 * each, 3 * each]
    assert peer.exchange(3, after=1) == 4 * each
    assert peer.exchange(2, after=1) == 4 * each  # answered from its checkpoint
    assert peer.exchange(4, after=2) == 5 * each
    peer.start_anew()
    assert peer.exchange(5, after=3) == 6 * each


@pytest.mark.parametrize("back_to", [1, 0, -1])
def test_what_a_run_that_is_gone_on_with_takes_back_stays_counted(back_to: int, tmp_path: Path) -> None:
    peer = Asked(tmp_path)
    each, *_ = (peer.exchange(number, number - 1) for number in range(3))
    done = 3
    for start_anew in (True, False):
        if start_anew:
            peer.start_anew()
        for _ in range(2):
            peer.restore(max(back_to, 0), [back_to] if back_to >= 0 else [])
        if start_anew:
            peer.start_anew()
        done += 1
        assert peer.exchange(back_to + 1, after=back_to) == done * each


def test_where_noise_follows_from_the_seed_what_is_done_again_is_the_same_and_counts_once(tmp_path: Path) -> None:
    peer = Asked(tmp_path, simulation=True)
    each, *_ = (peer.exchange(number, number - 1) for number in range(3))
    peer.start_anew()
    peer.restore(1, [1])
    assert peer.exchange(2, after=1) == 3 * each
