"""Evaluation against numpy, and the local figure against a test set drawn in the peer's proportions."""

import numpy as np
import pytest
import torch
from torch import nn

from dimat_flwr.data import Classification
from dimat_flwr.learning import Evaluation, PeerData, evaluate, local_accuracy
from tests.data.tokens import Tagger, Tokens
from tests.learning.sources import Pictures


class Lookup(nn.Module):
    """Returns the scores stored for the image whose first pixel is its number; in training mode it returns nonsense."""

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def forward(self, x):
        assert not self.training
        assert not torch.is_grad_enabled()
        return self.scores[x[:, 0, 0, 0].round().long()]


def numbered(labels):
    images = torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)
    return PeerData(images, torch.tensor(labels), None, Pictures(channels=1, mean=(0.0,), std=(1 / 255,)))


def test_figures_equal_numpys():
    draws = np.random.default_rng(0)
    labels = draws.integers(0, 4, 50)
    scores = draws.normal(size=(50, 6))
    model = Lookup(torch.tensor(scores)).train()
    result = evaluate(model, numbered(labels.tolist()), Classification(6), batch_size=7)
    assert model.training
    hits = scores.argmax(1) == labels
    losses = np.log(np.exp(scores).sum(1)) - scores[np.arange(50), labels]
    assert result.loss == pytest.approx(losses.mean())
    assert result.accuracy == pytest.approx(100 * hits.mean())
    per_class = [100 * hits[labels == c].mean() for c in range(4)]
    assert result.per_class_accuracy[:4] == pytest.approx(per_class)
    assert np.isnan(result.per_class_accuracy[4:]).all()
    assert result.class_counts.tolist() == np.bincount(labels, minlength=6).tolist()


def test_batch_size_does_not_matter():
    draws = np.random.default_rng(1)
    model = Lookup(torch.tensor(draws.normal(size=(50, 3))))
    data = numbered(draws.integers(0, 3, 50).tolist())
    whole, single = (evaluate(model, data, Classification(3), batch_size=size) for size in (50, 1))
    assert whole.loss == pytest.approx(single.loss)
    assert whole.class_correct.tolist() == single.class_correct.tolist()


def test_local_accuracy_is_testing_in_the_peers_proportions():
    evaluation = Evaluation(1.0, np.array([8, 1, 3]), np.array([10, 10, 4]))
    # 3 images of class 0 for every one of class 2: by hand (3 * 80 + 1 * 75) / 4
    assert local_accuracy(evaluation, np.array([30, 0, 10])) == pytest.approx(78.75)
    assert local_accuracy(evaluation, evaluation.class_counts) == pytest.approx(evaluation.accuracy)


def test_classes_without_test_images_are_left_out():
    evaluation = Evaluation(1.0, np.array([8, 0]), np.array([10, 0]))
    assert local_accuracy(evaluation, np.array([5, 50])) == pytest.approx(80)
    assert local_accuracy(evaluation, np.array([0, 50])) is None


def test_a_test_set_that_lacks_classes_is_evaluated():
    model = Lookup(torch.eye(5)[[1, 3, 3]])
    result = evaluate(model, numbered([1, 1, 3]), Classification(5))
    assert result.accuracy == pytest.approx(200 / 3)
    assert result.class_counts.tolist() == [0, 2, 0, 1, 0]
    assert local_accuracy(result, np.array([7, 1, 0, 3, 0])) == pytest.approx((50 + 3 * 100) / 4)


def test_every_labelled_place_of_a_sequence_counts():
    source = Tokens(padded=True, test_samples=30)
    torch.manual_seed(0)
    model, data = Tagger(), PeerData.testing(source, torch.device("cpu"))
    found = evaluate(model, data, source.task, batch_size=7)
    stored = source.load()
    hits = (model(stored.test_inputs).argmax(-1) == stored.test_labels)[stored.test_labels >= 0]
    assert found.accuracy == pytest.approx(100 * hits.float().mean().item())
    assert found.class_counts.sum() == len(hits) == 30 * 6 - 15
