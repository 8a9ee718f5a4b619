"""Batches against a reference that works image by image in numpy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dimat_flwr.data.augmentation import FlipAndShift
from dimat_flwr.data.breast_cancer import BreastCancer
from dimat_flwr.data.digits import Digits
from dimat_flwr.learning import PeerData, TrainingError
from tests.data.tokens import Tokens
from tests.learning.sources import Pictures

MEAN, STD = (0.5, 0.3, 0.1), (0.2, 0.25, 0.3)
CPU = torch.device("cpu")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_data(count=23, indices=None, size=6, **settings):
    images = torch.randint(0, 256, (count, 3, size, size), dtype=torch.uint8, generator=generator(1))
    source = Pictures(mean=MEAN, std=STD, **settings)
    return PeerData(images, torch.arange(count) % 4, indices, source, augmented=True)


def normalized(images):
    mean, std = (np.array(v).reshape(1, 3, 1, 1) for v in (MEAN, STD))
    return (images.numpy() / 255 - mean) / std


def shifted(image, flip, row, column, padding):
    height, width = image.shape[1:]
    padded = np.zeros((3, height + 2 * padding, width + 2 * padding), image.dtype)
    padded[:, padding : padding + height, padding : padding + width] = image
    window = padded[:, row : row + height, column : column + width]
    return window[:, :, ::-1] if flip else window


@given(
    padding=st.integers(0, 5),
    flip=st.booleans(),
    height=st.integers(1, 7),
    width=st.integers(1, 7),
    seed=st.integers(0, 9),
)
def test_augmentation_equals_crops_and_flips_one_by_one(padding, flip, height, width, seed):
    images = torch.randint(0, 256, (9, 3, height, width), dtype=torch.uint8, generator=generator(seed))
    drawn = FlipAndShift.draw(9, flip, padding, generator(seed), CPU)
    rows, columns = drawn.shifts.T.tolist()
    expected = [
        shifted(image.numpy(), f, r, c, padding)
        for image, f, r, c in zip(images, drawn.flips.tolist(), rows, columns, strict=True)
    ]
    assert np.array_equal(drawn.apply(images).numpy(), np.stack(expected))


@pytest.mark.parametrize("settings", [{}, {"flip": True}, {"flip": True, "crop_padding": 2}], ids=str)
def test_batches_lie_in_memory_as_the_example_on_which_networks_are_tried_out(settings):
    data = some_data(**settings)
    for batches in (data.epoch(5, generator()), data.in_order(5), [data.batch(1, 5, 0)]):
        for images, _ in batches:
            assert images.view(len(images), -1).shape == (len(images), 3 * 6 * 6)  # refuses channels that lie last


def test_augmentation_draws_are_uniform():
    drawn = FlipAndShift.draw(20_000, True, 4, generator(), CPU)
    assert drawn.flips.float().mean().item() == pytest.approx(0.5, abs=0.02)
    for axis in (0, 1):
        counts = torch.bincount(drawn.shifts[:, axis], minlength=9)
        assert len(counts) == 9
        assert (counts / 20_000 - 1 / 9).abs().max() < 0.01


def test_batches_are_normalized_and_labelled():
    data = some_data(indices=np.array([3, 5, 8]))
    (images, labels), *rest = data.in_order(10)
    assert not rest
    np.testing.assert_allclose(images.numpy(), normalized(data.inputs[[3, 5, 8]]), atol=1e-5)
    assert labels.tolist() == [3, 1, 0]
    assert (images.dtype, labels.dtype) == (torch.float32, torch.int64)
    assert data.label_counts(5).tolist() == [1, 1, 0, 1, 0]


@given(count=st.integers(1, 60), batch_size=st.integers(1, 20), seed=st.integers(0, 5))
def test_an_epoch_has_every_image_once_and_no_lonely_last_one(count, batch_size, seed):
    images = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2)
    data = PeerData(images, torch.arange(count), None, Pictures(mean=(0.0,) * 3, std=(1 / 255,) * 3))
    batches = list(data.epoch(batch_size, generator(seed)))
    assert len(batches) == data.batches_per_epoch(batch_size)
    assert sorted(label for _, labels in batches for label in labels.tolist()) == list(range(count))
    for x, labels in batches:
        assert torch.equal(x[:, 0, 0, 0].round().long(), labels)
    sizes = [len(labels) for _, labels in batches]
    assert all(size == batch_size for size in sizes[:-1])
    assert sizes[-1] <= batch_size + 1
    if batch_size > 1 and count > 1:
        assert sizes[-1] > 1


def test_epochs_depend_on_the_generator_alone():
    data = some_data(flip=True, crop_padding=2)

    def pixels(seed):
        return torch.cat([x for x, _ in data.epoch(8, generator(seed))])

    assert torch.equal(pixels(3), pixels(3))
    assert not torch.equal(pixels(3), pixels(4))


def test_augmentation_is_for_training_images_only():
    data = some_data(flip=True, crop_padding=2)
    plain = {tuple(x.flatten().tolist()) for batch, _ in data.in_order(8) for x in batch}

    def unchanged(batches):
        return sum(tuple(x.flatten().tolist()) in plain for batch in batches for x in batch)

    assert unchanged(x for x, _ in data.epoch(8, generator())) < 10
    assert unchanged(data.matching_inputs(23, 8, generator())) == 23


def test_numbered_batches_run_through_the_epochs_in_any_order_of_asking():
    data, again = some_data(flip=True), some_data(flip=True)
    per_epoch = data.batches_per_epoch(5)
    forwards = [data.batch(k, 5, seed=11) for k in range(2 * per_epoch)]
    backwards = [again.batch(k, 5, seed=11) for k in reversed(range(2 * per_epoch))][::-1]
    for (x, y), (other_x, other_y) in zip(forwards, backwards, strict=True):
        assert torch.equal(x, other_x)
        assert torch.equal(y, other_y)
    first, second = forwards[:per_epoch], forwards[per_epoch:]
    for epoch in (first, second):
        assert torch.cat([y for _, y in epoch]).bincount().tolist() == [6, 6, 6, 5]
    assert not torch.equal(torch.cat([y for _, y in first]), torch.cat([y for _, y in second]))
    assert not torch.equal(first[0][0], data.batch(0, 5, seed=12)[0])


def test_matching_inputs_draw_without_replacement_and_stop_at_what_there_is():
    data = some_data()
    drawn = torch.cat(data.matching_inputs(9, 4, generator()))
    assert len(drawn) == 9
    assert len({tuple(x.flatten().tolist()) for x in drawn}) == 9
    assert [len(x) for x in data.matching_inputs(9, 4, generator())] == [4, 5]
    assert sum(len(x) for x in data.matching_inputs(1000, 4, generator())) == 23


def test_peers_share_the_bytes_of_a_data_set():
    source = Digits()
    one, two = (PeerData.training(source, np.array(part), CPU) for part in ([0, 1, 2], [5, 9]))
    assert one.inputs.data_ptr() == two.inputs.data_ptr() == source.load().train_inputs.data_ptr()
    assert two.labels.tolist() == source.load().train_labels[[5, 9]].tolist()
    test = PeerData.testing(source, CPU)
    assert torch.equal(torch.cat([y for _, y in test.in_order(100)]), source.load().test_labels)


def test_no_samples_are_refused():
    with pytest.raises(TrainingError, match="has no samples of Pictures"):
        some_data(indices=np.array([], dtype=np.int64))


@pytest.mark.parametrize("source", [BreastCancer(), Tokens()], ids=["table", "tokens"])
def test_batches_of_tables_and_tokens_are_rows_of_the_data_set(source):
    whole = source.load()
    data = PeerData.training(source, np.arange(40, 90), CPU)
    rows = {
        tuple(x.flatten().tolist()): y.tolist() for x, y in zip(whole.train_inputs, whole.train_labels, strict=True)
    }
    for number in range(data.batches_per_epoch(8)):
        x, y = data.batch(number, 8, seed=3)
        assert x.dtype == source.example_input().dtype
        assert [rows[tuple(row.flatten().tolist())] for row in x] == y.tolist()
    assert data.label_counts(source.num_classes).sum() == whole.train_labels[40:90].numel()


def test_places_without_a_label_are_not_counted():
    source = Tokens(padded=True)
    data = PeerData.training(source, np.arange(10), CPU)
    assert data.label_counts(4).tolist() == torch.bincount(data.labels[data.labels >= 0], minlength=4).tolist()
    assert data.label_counts(4).sum() == 10 * 6 - 5
