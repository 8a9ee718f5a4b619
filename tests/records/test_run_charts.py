"""The curves of a run's page, figure by figure against a calculation by hand."""

from dimat_flwr.events import Aligned, Evaluation, Stamped, Training
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
    assert mean["remarks"] == {"1": "1 of 2 peers"}  # the second round is half done


def test_rounds_that_nobody_evaluated_break_no_curve():
    told = [(number, peer, "after_merge", 50.0 + number) for number in (2, 4, 8) for peer in (0, 1)]
    told.remove((4, 1, "after_merge", 54.0))  # this one is missing where another told something
    trained = [(number, peer, Training(0.5, 10, 1, 0.1)) for number in range(9) for peer in (0, 1)]
    chart = curves_of(told, extra=trained).quality()
    assert len(chart["xs"][0]["rounds"]) == 9
    found = named(chart)
    assert (found["peer 0"]["at"], found["peer 0"]["y"]) == ([2, 4, 8], [52.0, 54.0, 58.0])
    assert (found["peer 1"]["at"], found["peer 1"]["y"]) == ([2, 4, 8], [52.0, None, 58.0])
    assert (found["mean after merge"]["at"], found["mean after merge"]["y"]) == ([2, 4, 8], [52.0, 54.0, 58.0])
    assert len(named(chart, view=1)["mean"]["y"]) == 9


def test_of_long_runs_the_rounds_are_drawn_that_were_evaluated():
    told = [(number, 0, "after_merge", float(number % 100)) for number in range(7, 5000, 70)]
    trained = [(number, 0, Training(0.5, 10, 1, 0.1)) for number in range(5000)]
    chart = curves_of(told, peers=1, extra=trained).quality()
    mean = named(chart)["mean after merge"]
    assert [chart["xs"][0]["rounds"][place] for place in mean["at"]] == list(range(7, 5000, 70))
    assert len(chart["xs"][0]["rounds"]) < 300


def test_what_a_merge_brings_needs_the_round_before_and_no_other():
    told = [
        (0, 0, "after_training", 30.0), (0, 1, "after_training", 20.0),
        (1, 0, "after_merge", 45.0), (1, 1, "after_merge", 15.0), (1, 0, "after_training", 50.0),
        (2, 0, "after_merge", 49.0), (2, 1, "after_merge", 90.0), (2, 1, "after_training", 95.0),
        (4, 1, "after_merge", 99.0),
    ]  # fmt: skip
    found = named(curves_of(told).gain())
    assert [series["at"] for series in found.values()] == [[1, 2]] * 3  # rounds 1 and 2 of 0, 1, 2, 4
    assert found["peer 0"]["y"] == [15.0, -1.0]
    assert found["peer 1"]["y"] == [-5.0, None]
    mean = found["mean over peers"]
    assert mean["y"] == [5.0, -1.0]
    assert mean["hi"][0] == 15.0
    assert mean["remarks"] == {"1": "1 of 2 peers"}


def test_without_an_evaluation_in_two_rounds_running_no_gain_is_shown():
    told = [(k, 0, stage, 50.0 + k) for k in (0, 5, 10) for stage in ("after_merge", "after_training")]
    assert curves_of(told).gain() is None
    assert curves_of(told).units_moved() is None
    assert curves_of([]).quality() is None


def test_units_moved_are_the_mean_over_all_alignments_of_a_round():
    extra = [(1, 0, Aligned(1, 0.5)), (1, 0, Aligned(2, 1.0)), (1, 1, Aligned(0, 0.0)), (2, 1, Aligned(0, 0.25))]
    told = [(number, 0, "after_merge", 50.0) for number in (1, 2, 3)]
    (series,) = named(curves_of(told, extra=extra).units_moved()).values()
    assert (series["at"], series["y"]) == ([0, 1], [50.0, 25.0])


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
    assert (len(rounds), rounds[0], rounds[-1], curves.drawn) == (200, 1, 1000, 200)
