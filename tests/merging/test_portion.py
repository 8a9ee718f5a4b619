import copy

import pytest
import torch

from dimat_flwr.merging import match_neighbours
from dimat_flwr.merging.portion import Portion
from dimat_flwr.symmetry import find_permutation_spec
from tests.merging.networks import images, network

CPU = torch.device("cpu")


def _sizes(portion, samples, bytes_per_sample):
    sizes = []
    inputs = (torch.arange(samples), torch.arange(samples)[:, None])
    seen = []
    for part in portion.parts(inputs):
        assert torch.equal(part[0][:, None], part[1])
        seen.append(part[0])
        sizes.append(len(part[0]))
        portion.held = len(part[0]) * bytes_per_sample
    assert torch.equal(torch.cat(seen), inputs[0])
    return sizes


@pytest.mark.parametrize("samples", [1, 2, 3, 5, 50, 51])
def test_parts_hold_every_sample_once_in_order_and_never_one_alone(samples):
    sizes = _sizes(Portion({}, CPU), samples, 64 << 20)
    assert all(size in (2, 3) for size in sizes) or sizes == [1]


def test_parts_are_as_large_as_there_is_room_for():
    portion = Portion({"weight": torch.zeros(64 << 20, dtype=torch.int8), "bias": torch.zeros(64 << 20).char()}, CPU)
    assert _sizes(portion, 50, 10 << 20) == [2, 12, 12, 12, 12]  # 128 MiB, 10 each
    assert _sizes(portion, 50, 10 << 20) == [10, 10, 10, 10, 10]


def test_inputs_of_different_lengths_and_batches_for_a_gpu_stay_whole():
    assert [len(part[0]) for part in Portion({}, CPU).parts((torch.zeros(6), torch.zeros(3, 3)))] == [6]
    assert [len(part[0]) for part in Portion({}, torch.device("cuda")).parts((torch.zeros(6),))] == [6]


@pytest.mark.slow
def test_what_is_matched_does_not_depend_on_the_parts(monkeypatch):
    model = network("resnet20", dtype=torch.float64)
    mine, *others = (copy.deepcopy(network("resnet20", seed, torch.float64).state_dict()) for seed in (0, 1, 2))
    batches = images(24, 12, dtype=torch.float64)
    spec = find_permutation_spec(model, batches[0])
    whole = match_neighbours(model, mine, others, spec, batches)
    monkeypatch.setattr("dimat_flwr.merging.portion._HELD", 1)
    counts = []
    run = spec.traced.run
    monkeypatch.setattr(
        spec.traced, "run", lambda state, batch, tap: (counts.append(len(batch[0])), run(state, batch, tap))
    )
    assert match_neighbours(model, mine, others, spec, batches) == whole
    assert max(counts) < 12
