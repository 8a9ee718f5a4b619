"""Tasks: the loss and the tally of images, tables and token sequences, against plain sums."""

import dataclasses

import numpy as np
import pytest
import torch
from pydantic.dataclasses import dataclass
from torch import Tensor
from torch.nn.functional import log_softmax

from dimat_flwr.component import STRICT
from dimat_flwr.data import Classification, DataError, Dataset, TaskError
from dimat_flwr.data.breast_cancer import BreastCancer
from dimat_flwr.data.digits import Digits
from tests.data.tokens import Tagger, Tokens


def made_up(*shape: int, classes: int = 5) -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(0)
    return torch.randn(*shape, classes, generator=draws), torch.randint(0, classes, shape, generator=draws)


@pytest.mark.parametrize("shape", [(7,), (7, 3), (4, 3, 2)])
@pytest.mark.parametrize("unlabelled", [False, True])
def test_loss_and_tally_equal_plain_sums(shape, unlabelled):
    scores, labels = made_up(*shape)
    if unlabelled:
        labels[0] = -100
    rows, truth = scores.reshape(-1, 5).double(), labels.flatten()
    places = [k for k in range(len(truth)) if truth[k] >= 0]
    losses = [-log_softmax(rows[k], 0)[truth[k]].item() for k in places]
    task = Classification(5)
    assert task.loss(scores, labels).item() == pytest.approx(np.mean(losses), rel=1e-5)
    assert task.loss(scores, labels, "sum").item() == pytest.approx(np.sum(losses), rel=1e-5)
    assert task.loss(scores.bfloat16(), labels).dtype == torch.float32
    assert task.loss(scores.double(), labels).dtype == torch.float64
    correct, counts = task.tally(scores, labels).tolist()
    assert counts == [sum(int(truth[k]) == c for k in places) for c in range(5)]
    assert correct == [sum(int(truth[k]) == c == int(rows[k].argmax()) for k in places) for c in range(5)]


def test_tally_has_all_classes_where_a_batch_lacks_some():
    assert Classification(4).tally(torch.eye(4)[[2, 2]], torch.tensor([2, 0])).tolist() == [[0, 0, 1, 0], [1, 0, 1, 0]]


def test_scores_of_another_shape_are_refused():
    task = Classification(5)
    with pytest.raises(TaskError, match=r"scores \(7, 5\) do not go with labels \(7, 3\): .* must return \(7, 3, 5\)"):
        task.loss(torch.zeros(7, 5), torch.zeros(7, 3, dtype=torch.int64))
    with pytest.raises(TaskError, match=r"must return \(7, 5\)"):
        task.loss(torch.zeros(7, 6), torch.zeros(7, dtype=torch.int64))
    task.check_scores((2, 5), 2)
    task.check_scores((2, 9, 5), 2)
    for shape in ((2, 6), (3, 5), (2,), ()):
        with pytest.raises(TaskError, match=r"not class scores \(2, ..., 5\)"):
            task.check_scores(shape, 2)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (torch.tensor([0, 5]), r"it are in 0\.\.5, not torch.int64 in 0\.\.4"),
        (torch.tensor([-1, 2]), r"it are in -1\.\.2"),
        (torch.tensor([0.0, 1.0]), "it are torch.float32"),
        (torch.full((2, 3), -100), "it: none of 6 is a class"),
    ],
)
def test_labels_that_are_no_classes_are_refused(labels, said):
    with pytest.raises(DataError, match=said):
        Classification(5).check_labels(labels, "it")


@pytest.mark.parametrize("source", [Digits(), BreastCancer(), Tokens(), Tokens(tag_every_place=False)], ids=str)
def test_prepared_inputs_look_like_the_example(source):
    data = source.load()
    for inputs in (data.train_inputs, data.test_inputs):
        prepared, example = source.prepare(inputs[:3], None), source.example_input(3)
        assert (prepared.dtype, prepared.shape) == (example.dtype, example.shape)
    assert source.task == source.task
    assert data.train_strata.shape == (len(data.train_inputs),)


def test_strata_are_the_classes_where_samples_have_one():
    assert torch.equal(Digits().load().train_strata, Digits().load().train_labels)
    assert Tokens().load().train_strata.unique().tolist() == [0]


def test_what_a_data_set_of_somebody_else_reads_is_checked():
    @dataclass(frozen=True, kw_only=True, config=STRICT)
    class Broken(Tokens):
        fault: str

        def read(self):
            data = super().read()
            parts = {field.name: getattr(data, field.name) for field in dataclasses.fields(Dataset)}
            if self.fault == "type":
                parts["train_inputs"] = parts["train_inputs"].float()
            elif self.fault == "length":
                parts["test_labels"] = parts["test_labels"][1:]
            elif self.fault == "labels":
                parts["test_labels"] = parts["test_labels"] + 1
            elif self.fault == "empty":
                parts |= {name: parts[name][:0] for name in ("test_inputs", "test_labels")}
            return Dataset(**parts)

    for fault, said in (
        ("type", r"Broken: the training inputs are torch.float32 \(400, 6\) with 400 labels, not torch.int64"),
        ("length", r"the test inputs are torch.int64 \(200, 6\) with 199 labels"),
        ("labels", r"the test labels are in 1\.\.4, not torch.int64 in 0\.\.3"),
        ("empty", "with at least one"),
    ):
        with pytest.raises(DataError, match=said):
            Broken(fault=fault).load()


def test_numbers_that_are_not_finite_are_refused():
    rows, labels = torch.zeros(2, 3), torch.tensor([0, 1])
    broken = rows.clone()
    broken[1, 2] = float("nan")
    with pytest.raises(DataError, match="it: the test inputs hold numbers that are not finite"):
        Dataset(rows, labels, broken, labels).require("it", Classification(2), torch.float32, (3,))


def test_a_table_is_standardized_by_its_training_rows():
    source = BreastCancer()
    data = source.load()
    assert (len(data.train_labels), len(data.test_labels)) == (456, 113)
    assert data.train_inputs.double().mean(dim=0).abs().max() < 1e-6
    assert (data.train_inputs.double().std(dim=0, correction=0) - 1).abs().max() < 1e-6
    assert data.test_inputs.double().mean(dim=0).abs().max() > 1e-3
    part = BreastCancer(train_samples=20).load()
    assert part.train_labels.bincount().tolist() == [10, 10]
    rows = {tuple(row) for row in data.train_inputs.tolist()}
    assert all(tuple(row) in rows for row in part.train_inputs.tolist())


def test_breast_cancer_is_scikit_learns():
    from sklearn.datasets import load_breast_cancer

    original = load_breast_cancer()
    train, test = BreastCancer().tables()
    ours = sorted((*row, c) for t in (train, test) for row, c in zip(t.rows.tolist(), t.labels.tolist(), strict=True))
    theirs = sorted((*row, c) for row, c in zip(original.data.tolist(), original.target.tolist(), strict=True))
    assert ours == theirs
    shares = np.bincount(test.labels) / np.bincount(original.target)
    assert np.all(np.abs(shares - 0.2) < 0.003)


@pytest.mark.parametrize("tag_every_place", [True, False])
def test_the_tagger_fits_the_tokens(tag_every_place):
    source = Tokens(tag_every_place=tag_every_place)
    scores = Tagger(tag_every_place=tag_every_place)(source.example_input(3))
    source.task.check_scores(scores.shape, 3)
    assert scores.shape[:-1] == source.load().test_labels[:3].shape
