import numpy as np
import pytest
import torch

from dimat_flwr.merging.moments import CrossMoments, centre


def _reference(mine, theirs, kind):
    """Full 2N x 2N matrices of all observations at once, in double precision."""
    units = mine.shape[1]
    flat = np.concatenate([t.double().numpy().transpose(1, 0, 2).reshape(units, -1) for t in (mine, theirs)])
    if kind == "covariance":
        return np.cov(flat, bias=True)[:units, units:]
    return np.corrcoef(flat)[:units, units:]


def _streamed(mine, theirs, sizes, kind):
    moments = CrossMoments(mine.shape[1], centre(mine).values.dtype, mine.device)
    for a, b in zip(mine.split(sizes), theirs.split(sizes), strict=True):
        moments.add(centre(a), centre(b))
    return moments.statistic(kind).numpy()


@pytest.mark.parametrize("kind", ["correlation", "covariance"])
@pytest.mark.parametrize("positions", [1, 5, 40])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_streaming_agrees_with_full_matrices(kind, positions, dtype):
    generator = torch.Generator().manual_seed(0)
    mine = torch.randn(23, 6, positions, generator=generator, dtype=dtype) * 3 + 5
    theirs = mine.flip(1) * 0.5 + torch.randn(23, 6, positions, generator=generator, dtype=dtype) - 7
    got = _streamed(mine, theirs, [10, 1, 12], kind)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(got, _reference(mine, theirs, kind), rtol=tolerance, atol=tolerance)


def test_units_last_gives_the_same_as_units_first():
    generator = torch.Generator().manual_seed(1)
    mine, theirs = (torch.randn(4, 50, 7, generator=generator, dtype=torch.float64) for _ in range(2))
    strided = _streamed(mine.transpose(1, 2), theirs.transpose(1, 2), [2, 2], "correlation")
    plain = _streamed(mine.transpose(1, 2).contiguous(), theirs.transpose(1, 2).contiguous(), [2, 2], "correlation")
    np.testing.assert_allclose(strided, plain, rtol=1e-12)


def test_large_means_do_not_cost_digits():
    generator = torch.Generator().manual_seed(2)
    mine = torch.randn(64, 4, 64, generator=generator)
    theirs = mine.roll(1, 1) + 0.1 * torch.randn(64, 4, 64, generator=generator)
    # 2^12 + x keeps 12 of x's 24 bits; the reference sees the same rounded numbers
    mine, theirs = mine + 4096, theirs - 4096
    got = _streamed(mine, theirs, [16] * 4, "correlation")
    np.testing.assert_allclose(got, _reference(mine, theirs, "correlation"), atol=1e-5)


def test_a_long_stream_whose_mean_drifts_is_one_batch():
    generator = torch.Generator().manual_seed(6)
    drift = torch.arange(300.0)[:, None, None] / 10
    mine = torch.randn(300, 5, 7, generator=generator) + drift
    theirs = mine.flip(1) + torch.randn(300, 5, 7, generator=generator) - 2 * drift
    for kind in ("correlation", "covariance"):
        got = _streamed(mine, theirs, [3] * 100, kind)
        np.testing.assert_allclose(got, _reference(mine, theirs, kind), rtol=1e-5)


def test_statistics_may_be_looked_at_in_between():
    generator = torch.Generator().manual_seed(7)
    mine, theirs = (torch.randn(20, 4, 6, generator=generator) for _ in range(2))
    moments = CrossMoments(4, torch.float32, mine.device)
    for a, b in zip(mine.split(2), theirs.split(2), strict=True):
        moments.add(centre(a), centre(b))
        first, second = moments.statistic("correlation"), moments.statistic("correlation")
        assert torch.equal(first, second)
    np.testing.assert_allclose(first.numpy(), _reference(mine, theirs, "correlation"), atol=2e-6)


def test_units_that_never_vary_correlate_with_nothing():
    generator = torch.Generator().manual_seed(3)
    mine, theirs = torch.randn(8, 5, 9, generator=generator), torch.randn(8, 5, 9, generator=generator)
    mine[:, 2] = 0.0
    theirs[:, 4] = 0.1  # not a binary fraction: its computed mean is off by rounding
    got = _streamed(mine, theirs, [4, 4], "correlation")
    assert np.isfinite(got).all()
    assert (got[2] == 0).all()
    assert (got[:, 4] == 0).all()
    assert (got[[0, 1, 3, 4]][:, :4] != 0).all()


def test_half_precision_is_summed_in_single():
    generator = torch.Generator().manual_seed(4)
    mine = torch.randn(16, 3, 4096, generator=generator).bfloat16()
    theirs = (mine.float() + torch.randn(16, 3, 4096, generator=generator)).bfloat16()
    got = _streamed(mine, theirs, [16], "correlation")
    np.testing.assert_allclose(got, _reference(mine, theirs, "correlation"), atol=1e-5)
