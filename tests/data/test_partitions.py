"""Partitions: every sample goes to exactly one peer, in the proportions that each promises."""

import subprocess
import sys
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from dimat_flwr.data import Partition, PartitionError
from dimat_flwr.data.partitions.classes import Classes
from dimat_flwr.data.partitions.dirichlet import Dirichlet
from dimat_flwr.data.partitions.disjoint import Disjoint
from dimat_flwr.data.partitions.iid import Iid
from dimat_flwr.data.partitions.own import Own
from dimat_flwr.data.partitions.shards import Shards
from dimat_flwr.seeding import derive_seed

ROOT = Path(__file__).parents[2]
labels_of = st.lists(st.integers(0, 9), min_size=40, max_size=300).map(np.array)


def assert_split(parts, count):
    assert sorted(int(i) for part in parts for i in part) == list(range(count))
    assert all(np.all(np.diff(part) > 0) for part in parts)


@given(labels=labels_of, peers=st.integers(1, 12), seed=st.integers(0, 2**62))
def test_iid_deals_every_class_equally(labels, peers, seed):
    parts = Iid().split(labels, peers, seed)
    assert_split(parts, len(labels))
    for groups in ([len(part) for part in parts], *([(labels[p] == c).sum() for p in parts] for c in range(10))):
        assert max(groups) - min(groups) <= 1


@given(labels=labels_of, peers=st.integers(1, 10), seed=st.integers(0, 2**62))
def test_classes_gives_class_c_to_peer_c_mod_n(labels, peers, seed):
    owners = {c % peers for c in labels if Counter(labels)[c]}
    if owners != set(range(peers)):
        with pytest.raises(PartitionError, match="gives peer"):
            Classes(min_samples=1).split(labels, peers, seed)
        return
    parts = Classes(min_samples=1).split(labels, peers, seed)
    assert_split(parts, len(labels))
    assert all(labels[i] % peers == peer for peer, part in enumerate(parts) for i in part)


@pytest.mark.parametrize("partition", [Iid(), Classes(), Dirichlet(alpha=0.5)], ids=lambda p: type(p).__name__)
def test_split_is_a_function_of_the_seed(partition):
    labels = np.arange(600) % 10
    first, again, other = (partition.split(labels, 4, seed) for seed in (7, 7, 8))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    changed = not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    assert changed == (not isinstance(partition, Classes))


@pytest.mark.parametrize("self_balancing", [False, True])
def test_dirichlet_is_a_split_and_alpha_decides_the_skew(self_balancing):
    labels = np.arange(5000) % 10

    def largest_share(alpha):
        parts = Dirichlet(alpha=alpha, self_balancing=self_balancing).split(labels, 5, seed=3)
        assert_split(parts, 5000)
        counts = np.array([np.bincount(labels[p], minlength=10) for p in parts])
        return (counts.max(axis=0) / counts.sum(axis=0)).mean()

    skewed, even = largest_share(0.1), largest_share(1e5)
    assert even == pytest.approx(0.2, abs=0.01)
    assert skewed > 0.5


def test_dirichlet_names_the_peer_that_no_draw_could_serve():
    with pytest.raises(PartitionError, match=r"gives peer \d+ \d samples.*raise partition.alpha"):
        Dirichlet(alpha=0.01, min_samples=4).split(np.arange(60) % 2, 10, 0)


def test_too_many_peers_are_refused_with_a_remedy():
    with pytest.raises(PartitionError, match=r"gives peer 3 0 samples.*at most as many peers as there are classes"):
        Classes().split(np.arange(90) % 3, 5, 0)
    with pytest.raises(PartitionError, match=r"too few for 30 peers.*use fewer peers"):
        Iid().split(np.zeros(50), 30, 0)
    with pytest.raises(PartitionError, match="at least one"):
        Iid().split(np.zeros(50), 0, 0)


def test_a_partition_that_loses_samples_is_refused():
    class Forgetful(Partition):
        def deal(self, strata, peers, seed):
            return [np.arange(k, len(strata) - 1, peers) for k in range(peers)]

    with pytest.raises(PartitionError, match="exactly one"):
        Forgetful().split(np.arange(10), 2, 0)


@pytest.mark.parametrize("fields", [{"alpha": 0}, {"alpha": float("nan")}, {"min_samples": 0}, {"beta": 1}])
def test_wrong_settings_are_refused(fields):
    with pytest.raises(ValidationError):
        Dirichlet(**fields)


@pytest.mark.parametrize("self_balancing", [False, True])
@pytest.mark.parametrize(("alpha", "min_samples"), [(0.1, 2), (0.5, 60), (100.0, 2)], ids=["skewed", "redrawn", "even"])
def test_dirichlet_is_flowers_split(alpha, min_samples, self_balancing):
    from datasets import Dataset
    from flwr_datasets.partitioner import DirichletPartitioner

    labels = np.random.default_rng(0).integers(0, 10, 700)
    theirs = DirichletPartitioner(
        num_partitions=5,
        partition_by="label",
        alpha=alpha,
        min_partition_size=min_samples,
        self_balancing=self_balancing,
        shuffle=False,
        seed=derive_seed(3, purpose="partition"),
    )
    theirs.dataset = Dataset.from_dict({"label": labels, "index": np.arange(700)})
    ours = Dirichlet(alpha=alpha, min_samples=min_samples, self_balancing=self_balancing).split(labels, 5, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one for each repeated draw
        for peer, part in enumerate(ours):
            assert sorted(theirs.load_partition(peer)["index"]) == part.tolist()


def test_samples_without_a_class_of_their_own_can_be_dealt():
    strata = np.zeros(40, dtype=np.int64)
    for partition in (Iid(), Dirichlet(alpha=1.0)):
        assert_split(partition.split(strata, 4, 0), 40)
    with pytest.raises(PartitionError, match=r"of Tokens's 40 samples.*gives peer 1 0.*use partition: iid"):
        Classes().split(strata, 4, 0, what="Tokens")


@pytest.mark.slow
def test_nothing_heavy_is_imported_for_training():
    # Each of these takes a second or more, in every process of a run.
    code = (
        "import sys, torch, dimat_flwr.data.cifar, dimat_flwr.data.breast_cancer\n"
        "from dimat_flwr.data.digits import Digits\nfrom dimat_flwr.data.partitions.dirichlet import Dirichlet\n"
        "from dimat_flwr.learning import PeerData, evaluate, gradient, train_steps\n"
        "from dimat_flwr.learning.optimizers.adam import Adam\nfrom dimat_flwr.models import DigitsCNN\n"
        "source, model, cpu = Digits(), DigitsCNN(), torch.device('cpu')\n"
        "part = Dirichlet(alpha=1.0).split(source.load().train_strata.numpy(), 5, 0)[0]\n"
        "data = PeerData.training(source, part, cpu)\n"
        "optimizer = Adam().build(model.parameters())\n"
        "train_steps(model, data, optimizer, source.task, first=0, steps=1, batch_size=32, seed=0)\n"
        "gradient(model, source.task, data.batch(1, 32, 0), at=model.state_dict(), seed=0)\n"
        "evaluate(model, PeerData.testing(source, cpu), source.task)\n"
        "heavy = {'flwr_datasets', 'datasets', 'sklearn', 'torchvision', 'torch._dynamo', 'sympy', 'triton'}\n"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@given(labels=labels_of, peers=st.integers(1, 8), seed=st.integers(0, 2**62))
def test_shards_are_of_one_size_and_of_few_classes(labels, peers, seed):
    parts = Shards(shards_per_peer=2, min_samples=1).split(labels, peers, seed)
    assert_split(parts, len(labels))
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 2
    # A shard that lies across k classes holds all samples of the k - 2 inner ones.
    whole = Counter(labels.tolist())
    for part in parts:
        had = Counter(labels[part].tolist())
        assert sum(had[c] < whole[c] for c in had) <= 4


@given(labels=labels_of, peers=st.integers(1, 8), seed=st.integers(0, 2**62))
def test_disjoint_peers_share_no_class(labels, peers, seed):
    if len(set(labels.tolist())) < peers:
        with pytest.raises(PartitionError, match="at most as many peers"):
            Disjoint(min_samples=1).split(labels, peers, seed)
        return
    parts = Disjoint(min_samples=1).split(labels, peers, seed)
    assert_split(parts, len(labels))
    owners = [set(labels[part].tolist()) for part in parts]
    assert sum(map(len, owners)) == len(set(labels.tolist()))
    assert max(map(len, owners)) - min(map(len, owners)) <= 1


def test_a_peer_keeps_no_more_than_it_may():
    labels = np.arange(600) % 10
    whole, kept = Classes().split(labels, 4, 3), Classes(samples_per_peer=130).split(labels, 4, 3)
    assert [len(part) for part in whole] == [180, 180, 120, 120]
    assert [len(part) for part in kept] == [130, 130, 120, 120]
    assert all(set(few) <= set(all_) for few, all_ in zip(kept, whole, strict=True))
    assert all(np.all(np.diff(part) > 0) for part in kept)
    again, other = (Classes(samples_per_peer=130).split(labels, 4, seed) for seed in (3, 4))
    assert np.array_equal(again[0], kept[0])
    assert not np.array_equal(other[0], kept[0])


def test_peers_with_data_of_their_own_share_one_list_of_all_samples():
    parts = Own().split(np.arange(600) % 10, 100, 3)
    assert len(parts) == 100
    assert len({id(part) for part in parts}) == 1
    assert parts[0].tolist() == list(range(600))


def test_parts_come_ascending_however_they_are_dealt():
    class Backwards(Partition):
        def deal(self, strata, peers, seed):
            return [np.arange(k, len(strata), peers)[::-1] for k in range(peers)]

    assert [part.tolist() for part in Backwards().split(np.zeros(6), 2, 0)] == [[0, 2, 4], [1, 3, 5]]
