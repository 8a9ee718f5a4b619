"""The run folder's place: its name, and every way in which it cannot be written to, found before the run."""

import resource
import shutil
from datetime import datetime
from pathlib import Path

import pytest

from dimat_flwr.records import RecordsError, RunFolder

NOW = datetime(2026, 3, 4, 5, 6, 7)


def test_the_folder_is_named_after_time_and_run_and_is_fresh_each_time(tmp_path):
    paths = [RunFolder.create(tmp_path / "new" / "runs", "dimat-ring", NOW).path for _ in range(3)]
    assert [p.name for p in paths] == [
        "2026-03-04_050607-dimat-ring",
        "2026-03-04_050607-dimat-ring-2",
        "2026-03-04_050607-dimat-ring-3",
    ]
    assert all(p.parent == tmp_path / "new" / "runs" for p in paths)
    assert sorted(p.name for p in paths[0].iterdir()) == [
        "messages.csv",
        "metrics.jsonl",
        "summary.json",
        "timeline.csv",
    ]  # no trial left


def test_home_and_relative_folders_become_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    assert RunFolder.create("~/runs", "a", NOW).path == tmp_path / "home/runs/2026-03-04_050607-a"
    assert RunFolder.create("here", "a", NOW).path == tmp_path / "here/2026-03-04_050607-a"


@pytest.mark.parametrize("name", ["", "a/b", "..", "../up", "a\\b", "-x", "a b", "a\n", "x" * 101, "nul\0"])
def test_names_that_cannot_be_a_folder_are_refused(tmp_path, name):
    with pytest.raises(RecordsError, match="cannot be used in a folder's name; set name"):
        RunFolder.create(tmp_path, name, NOW)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("inside", [".", "runs", "a/b/c"])
def test_a_file_in_the_way_is_named(tmp_path, inside):
    (tmp_path / "taken").write_text("mine")
    with pytest.raises(RecordsError, match=r"taken is a file; set output-dir"):
        RunFolder.create(tmp_path / "taken" / inside, "run", NOW)
    assert (tmp_path / "taken").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="needs a file system nobody can write to")
def test_an_unwritable_place_is_refused():
    with pytest.raises(RecordsError, match=r"cannot write a run's records to /proc/dimat.*; set output-dir"):
        RunFolder.create("/proc/dimat", "run", NOW)


@pytest.mark.parametrize(
    ("output_dir", "message"), [("", "is empty"), (" ", "is empty"), ("~nobody-here/x", "unknown")]
)
def test_an_output_dir_that_is_no_place_is_refused(output_dir, message):
    with pytest.raises(RecordsError, match=f"output-dir .*{message}"):
        RunFolder.create(output_dir, "run", NOW)


def test_a_disk_that_is_nearly_full_is_refused_and_left_clean(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=2_500_000))
    with pytest.raises(RecordsError, match=r"only 2.5 MB are free at .*; free some space"):
        RunFolder.create(tmp_path, "run", NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_quota_that_stops_the_trial_is_refused_and_left_clean(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))  # the system then refuses to write a larger file
    try:
        with pytest.raises(RecordsError, match=r"cannot write a run's records to .*File too large"):
            RunFolder.create(tmp_path, "run", NOW)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
