"""Images with their pixels averaged."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from dimat_flwr.data.digits import Digits


def test_pixels_are_means_over_squares_of_all_images_and_labels_stay():
    whole, pooled = Digits().load(), Digits(pooling=2)
    dataset = pooled.load()
    for inputs, small in ((whole.train_inputs, dataset.train_inputs), (whole.test_inputs, dataset.test_inputs)):
        assert small.dtype == torch.uint8
        means = np.zeros((len(inputs), 1, 4, 4))
        for row in range(4):
            for column in range(4):
                square = inputs[:, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2].numpy()
                means[:, :, row, column] = square.reshape(len(inputs), 1, 4).mean(axis=2)
        assert np.abs(means - small.numpy()).max() <= 0.5
    assert dataset.train_labels.equal(whole.train_labels)
    assert pooled.prepare(dataset.test_inputs[:3]).shape == pooled.example_input(3).shape == (3, 1, 4, 4)
    assert dataset.test_labels.equal(whole.test_labels)


def test_squares_that_do_not_cover_an_image_are_refused():
    with pytest.raises(ValidationError, match="no whole number of squares of 3"):
        Digits(pooling=3)
