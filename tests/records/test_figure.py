"""What an axis of factors names, wherever the values lie."""

import pytest

from dimat_flwr.records.figure import factors_axis, new_figure


@pytest.mark.parametrize(
    ("x", "named"),
    [
        ([11.0, 22.0, 33.0, 1782.0], ["20", "50", "100", "200", "500", "1000"]),
        ([22.1, 44.3, 66.4], ["30", "40", "50", "60"]),  # no power of ten is among them
        ([0.0, 0.0, 6.6, 96.3], ["0", "10", "20", "50"]),
        ([0.0, 0.0], ["0", "1"]),
        ([33.2172], ["33.2"]),
        ([2.0, 3e7], ["10", "100", "1000", "10000", "100000", "1e+06", "1e+07"]),
    ],
    ids=str,
)
def test_an_axis_of_factors_names_some_of_its_values(x, named):
    figure, axes = new_figure(6, 4)
    axes.plot(x, [1.0] * len(x))
    factors_axis(axes)
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == named
    low, high = axes.get_xlim()
    assert low < min(x)
    assert high > max(x)


def test_between_whole_numbers_nothing_is_named():
    figure, axes = new_figure(6, 4)
    axes.plot([1, 2, 3], [1.0, 2.0, 3.0])
    factors_axis(axes, whole=True)
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "2", "3"]
