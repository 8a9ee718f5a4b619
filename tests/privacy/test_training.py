"""Private training against a float64 reference in numpy, its noise as measured, and what one sample can do at most."""

import math
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dimat_flwr.data import Classification
from dimat_flwr.learning import Keystream, PeerData, TrainingError
from dimat_flwr.learning.optimizers.adam import Adam
from dimat_flwr.learning.optimizers.sgd import Sgd
from dimat_flwr.learning.private import Protection, train_privately
from tests.data.tokens import Tagger, Tokens
from tests.learning.sources import Pictures

CLASSES, FEATURES, SAMPLES = 3, 4, 12
TASK = Classification(CLASSES)
NOTHING = 1e-12  # a noise multiplier that changes no digit


def rows(count: int = SAMPLES, scale: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    inputs = scale * torch.randn(count, 1, 1, FEATURES, generator=generator, dtype=torch.float64)
    return inputs, torch.randint(CLASSES, (count,), generator=generator)


class Rows(Pictures):
    """Stored as the network takes them."""

    def prepare(self, inputs: Tensor, augmentation: object = None) -> Tensor:
        return inputs


def data(inputs: Tensor, labels: Tensor) -> PeerData:
    return PeerData(inputs, labels, None, Rows(channels=1, mean=(0.0,), std=(1.0,)))


def linear() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, CLASSES)).double()


def train(
    model: nn.Module, samples: PeerData, *, sigma: float = NOTHING, norm: float = 1.0, steps: int = 1, batch: int = 5,
    seed: int = 0, lr: float = 1.0, **settings: object,
) -> None:  # fmt: skip
    protection = Protection(sigma, norm, Keystream.seeded(seed))
    optimizer = Sgd(lr=lr).build(model.parameters())
    train_privately(model, samples, optimizer, TASK, protection, steps=steps, batch_size=batch, **settings)


def flat(model: nn.Module) -> NDArray[np.float64]:
    return np.concatenate([own.detach().double().numpy().ravel() for own in model.parameters()])


def sample_gradients(model: nn.Sequential, inputs: Tensor, labels: Tensor) -> NDArray[np.float64]:
    """Return (N, parameters): softmax cross entropy's gradient of each sample, written out."""
    weight, bias = (own.detach().numpy() for own in model.parameters())
    x = inputs.flatten(1).numpy()
    scores = x @ weight.T + bias
    scores = np.exp(scores - scores.max(1, keepdims=True))
    error = scores / scores.sum(1, keepdims=True) - np.eye(CLASSES)[labels.numpy()]
    return np.concatenate([(error[:, :, None] * x[:, None, :]).reshape(len(x), -1), error], axis=1)


@pytest.mark.parametrize("norm", [0.5, 2.0, 1e6])
def test_without_noise_a_step_is_the_sum_of_the_sampled_clipped_gradients(norm: float) -> None:
    inputs, labels = rows()
    model, expected, stream = linear(), linear(), Keystream.seeded(0)
    train(model, data(inputs, labels), norm=norm, steps=3)
    sizes = []
    for _ in range(3):
        taken = stream.uniform(SAMPLES) <= 5 / SAMPLES
        stream._calls += 2 + 2  # two seeds, and noise for weight and bias
        found = sample_gradients(expected, inputs, labels)[taken]
        factor = np.minimum(1, norm / np.linalg.norm(found, axis=1))
        sizes += factor.tolist()
        step = (factor[:, None] * found).sum(0) / 5
        with torch.no_grad():
            for own, part in zip(expected.parameters(), np.split(step, [CLASSES * FEATURES]), strict=True):
                own -= torch.from_numpy(part.reshape(own.shape))
    assert np.abs(flat(model) - flat(expected)).max() < 3e-6  # opacus adds 1e-6 to the norms
    assert {0.5: max(sizes) < 1, 2.0: min(sizes) < 1 == max(sizes), 1e6: min(sizes) == 1}[norm]


def test_the_noise_has_the_deviation_that_epsilon_is_told_for() -> None:
    """Steps on all samples from one start, with and without noise, differ by sigma C / B times a normal number."""
    samples, sigma, norm, lr = data(*rows()), 1.7, 0.6, 2.0
    exact, found = linear(), []
    train(exact, samples, norm=norm, batch=SAMPLES, lr=lr)
    for seed in range(150):
        model = linear()
        train(model, samples, sigma=sigma, norm=norm, batch=SAMPLES, seed=seed, lr=lr)
        found.append((flat(model) - flat(exact)) / lr)
    noise = np.stack(found)  # (150, 15)
    expected = sigma * norm / SAMPLES
    assert noise.std() == pytest.approx(expected, rel=4 / math.sqrt(2 * noise.size))
    assert abs(noise.mean()) < 4 * expected / math.sqrt(noise.size)
    correlation = np.corrcoef(noise.T) - np.eye(noise.shape[1])
    assert np.abs(correlation).max() < 5 / math.sqrt(len(noise))


@pytest.mark.parametrize("outlier", [1.0, 1e4, 1e30, math.inf, math.nan])
def test_one_sample_changes_a_step_by_its_clipped_gradient_at_most(outlier: float) -> None:
    inputs, labels = rows()
    changed = inputs.clone()
    changed[-1] = outlier
    labels[-1] = 0
    norm, batch = 0.7, SAMPLES  # all samples are in every step
    without, with_it = linear(), linear()
    # The noise of the same calls is the same, and takes part.
    train(without, data(inputs[:-1], labels[:-1]), sigma=1.0, norm=norm, batch=batch, seed=3)
    train(with_it, data(changed, labels), sigma=1.0, norm=norm, batch=batch, seed=3)
    scale = np.array([SAMPLES - 1, SAMPLES])  # B is at most the number of samples, which is no secret
    start = flat(linear())
    sums = [(start - flat(model)) * b for model, b in zip((without, with_it), scale, strict=True)]
    moved = np.linalg.norm(sums[1] - sums[0])
    assert moved <= norm * (1 + 1e-6)
    if outlier == 1e4:
        assert moved == pytest.approx(norm, rel=1e-4)


def test_a_step_without_any_sample_is_noise() -> None:
    inputs, labels = rows(count=2000)
    model = linear()
    start = flat(model)
    seed = next(s for s in range(100) if not (Keystream.seeded(s).uniform(2000) <= 1e-3).any())
    train(model, data(inputs, labels), sigma=1.0, batch=2, seed=seed)
    assert (flat(model) != start).all()


def test_samples_are_taken_one_by_one_with_the_rate_of_the_account() -> None:
    taken: list[int] = []

    class Counted(PeerData):
        def sampled(self, places: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
            taken.append(len(places))
            return super().sampled(places, generator)

    inputs, labels = rows(count=100)
    counted = Counted(inputs, labels, None, Rows(channels=1, mean=(0.0,), std=(1.0,)))
    train(linear(), counted, steps=200, batch=20, lr=1e-3)
    assert np.mean(taken) == pytest.approx(20, abs=4 * 4 / math.sqrt(200))
    assert np.var(taken) == pytest.approx(100 * 0.2 * 0.8, rel=0.4)  # of fixed batches it would be 0


def test_corrections_are_given_the_noise_and_are_not_clipped() -> None:
    samples, noises = data(*rows()), []

    def correct(x: Mapping[str, Tensor], g: dict[str, Tensor]) -> dict[str, Tensor]:
        noises.append(float(torch.cat([part.flatten() for part in g.values()]).norm()))
        return {name: torch.full_like(part, 100.0) for name, part in g.items()}

    model = linear()
    start = flat(model)
    train(model, samples, sigma=1e6, correct=correct)
    assert noises[0] > 1e5
    assert np.allclose(flat(model), start - 100)


def test_the_result_tells_nothing_of_samples_and_the_network_keeps_nothing() -> None:
    inputs, labels = rows()
    model = nn.Sequential(nn.Flatten(), nn.Linear(FEATURES, 5), nn.Dropout(), nn.Linear(5, CLASSES)).double().eval()
    before = {name for own in model.parameters() for name in vars(own)}
    optimizer = Adam().build(model.parameters())
    protection = Protection(1.0, 1.0, Keystream.seeded(0))
    found = train_privately(model, data(inputs, labels), optimizer, TASK, protection, steps=7, batch_size=5)
    assert (found.loss, found.samples, found.steps) == (None, 35, 7)
    assert {name for own in model.parameters() for name in vars(own)} == before
    assert all(own.grad is None for own in model.parameters())
    assert not any(module._forward_hooks or module._backward_hooks or module.training for module in model.modules())
    assert len(optimizer.state) == 4


def test_sequences_count_as_one_sample_each() -> None:
    tokens = Tokens()
    stored = tokens.load()
    task, length = tokens.task, stored.train_labels.shape[1]
    samples = PeerData(stored.train_inputs[:6], stored.train_labels[:6], None, tokens)
    torch.manual_seed(0)
    model, plain = (Tagger(tokens.vocabulary, tokens.num_classes) for _ in range(2))
    plain.load_state_dict(model.state_dict())
    inputs, labels = samples.sampled(torch.arange(6), torch.Generator())
    (task.loss(plain(inputs), labels, "sum") / (6 * length)).backward()
    expected = {name: own - own.grad for name, own in plain.named_parameters() if own.grad is not None}
    optimizer = Sgd(lr=1.0).build(model.parameters())
    protection = Protection(NOTHING, 1e6, Keystream.seeded(0))
    train_privately(model, samples, optimizer, task, protection, steps=1, batch_size=6)
    for name, own in model.named_parameters():
        assert torch.allclose(own, expected[name], atol=1e-6)


def test_a_model_that_is_ruined_says_so_without_a_word_of_the_loss() -> None:
    with pytest.raises(TrainingError, match="parameters became infinite or NaN in private training"):
        train(linear(), data(*rows()), sigma=100.0, lr=1e308)
