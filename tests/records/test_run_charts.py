"""The curves of a run's page, figure by figure against a calculation by hand."""

from dimat_flwr.events import Aligned, Evaluation, Stamped
from dimat_flwr.records.run_charts import MOST_CURVES, RunCurves
from dimat_flwr.records.summary import summarize
from dimat_flwr.records.timeline import Timeline, Worked
from dimat_flwr.records.totals import Totals


def curves_of(evaluations, peers=2, timeline=None, extra=()):
    """The curves of a run in which (round, peer, stage, accuracy) were told; each round, 500 kB were sent."""
    totals = Totals()
    for number, peer, stage, accuracy in evaluations:
        totals.add(Stamped(Evaluation(stage, accuracy), number, peer, "merge"))
    for number, peer, event in extra:
        totals.add(Stamped(event, number, peer, "merge"))
    for number in dict.fromkeys(number for number, *_ in evaluations):
        totals.add_bytes(number, 500_000, "merge")
    return RunCurves(summarize({"peers": peers}, totals, {"status": "completed"}), totals, timeline or Timeline())


def named(chart, view=0):
    return {series["name"]: series for series in chart["views"][view]["series"]}


def test_a_curve_per_peer_and_their_mean_over_rounds_bytes_and_time():
    timeline = Timeline()
    for number, peer, at in ((1, 0, 2.0), (1, 1, 4.0), (2, 0, 6.0), (2, 1, 10.0)):
        timeline.add(Worked(number, "merge", peer, at - 1, at, 1.0, 0.5, 0.25))
    told = [(1, 0, "after_merge", 40.0), (1, 1, "after_merge", 60.0), (2, 0, "after_merge", 70.0)]
    chart = curves_of(told, timeline=timeline).quality()
    assert [axis["key"] for axis in chart["axes"]] == ["rounds", "bytes", "seconds"]
    assert chart["xs"][0] == {"rounds": [1, 2], "bytes": [0.5, 1.0], "seconds": [4.0, 10.0]}
    found = named(chart)
    assert found["peer 0"]["y"] == [40.0, 70.0]
    assert found["peer 1"]["y"] == [60.0, None]
    assert found["peer 1"]["own"] == {"seconds": [4.0, 10.0]}
    mean = found["mean after merge"]
    assert (mean["y"], mean["lo"], mean["hi"]) == ([50.0, 70.0], [40.0, 70.0], [60.0, 70.0])


def test_what_a_merge_brings_needs_the_round_before_and_no_other():
    told = [
        (0, 0, "after_training", 30.0), (0, 1, "after_training", 20.0),
        (1, 0, "after_merge", 45.0), (1, 1, "after_merge", 15.0), (1, 0, "after_training", 50.0),
        (2, 0, "after_merge", 49.0), (2, 1, "after_merge", 90.0), (2, 1, "after_training", 95.0),
        (4, 1, "after_merge", 99.0),
    ]  # fmt: skip
    found = named(curves_of(told).gain())
    assert found["peer 0"]["y"] == [None, 15.0, -1.0, None]
    assert found["peer 1"]["y"] == [None, -5.0, None, None]
    mean = found["mean over peers"]
    assert mean["y"] == [None, 5.0, -1.0, None]
    assert mean["hi"][1] == 15.0


def test_without_an_evaluation_in_two_rounds_running_no_gain_is_shown():
    told = [(k, 0, stage, 50.0 + k) for k in (0, 5, 10) for stage in ("after_merge", "after_training")]
    assert curves_of(told).gain() is None
    assert curves_of(told).units_moved() is None
    assert curves_of([]).quality() is None


def test_units_moved_are_the_mean_over_all_alignments_of_a_round():
    extra = [(1, 0, Aligned(1, 0.5)), (1, 0, Aligned(2, 1.0)), (1, 1, Aligned(0, 0.0)), (2, 1, Aligned(0, 0.25))]
    told = [(number, 0, "after_merge", 50.0) for number in (1, 2, 3)]
    (series,) = named(curves_of(told, extra=extra).units_moved()).values()
    assert series["y"] == [50.0, 25.0, None]


def test_many_peers_stand_in_the_legend_as_one_and_very_many_are_counted():
    told = [(number, peer, "after_merge", 50.0) for number in (1, 2) for peer in range(MOST_CURVES + 5)]
    curves = curves_of(told, peers=MOST_CURVES + 5)
    series = named(curves.quality())
    assert curves.left_out == 5
    assert sum(one.get("group") == "each peer" for one in series.values()) == MOST_CURVES
    assert series["mean after merge"]["y"] == [50.0, 50.0]


def test_long_runs_are_thinned_and_keep_their_ends():
    chart = (curves := curves_of([(number, 0, "after_merge", 50.0) for number in range(1, 1001)])).quality()
    rounds = chart["xs"][0]["rounds"]
    assert (len(rounds), rounds[0], rounds[-1], curves.step) == (200, 1, 1000, 5)
