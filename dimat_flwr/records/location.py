"""Where a run leaves its records: a fresh folder, tried out before the run starts."""

import os
import re
import shutil
from datetime import datetime
from pathlib import Path

from dimat_flwr.records.errors import RecordsError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._=+,-]{0,99}")
_PROBE_BYTES = 1_000_000
_FREE_BYTES_NEEDED = 16_000_000  # events, summary, plots and report of a long run, with room to spare


def make_run_folder(output_dir: str | Path, name: str, now: datetime | None) -> Path:
    """Make and return ``<output_dir>/<YYYY-MM-DD_HHMMSS>-<name>``, absolute, with -2, -3, ... where it is taken.

    Without a time it is ``<output_dir>/<name>``, which must not be there yet.

    Raises:
        RecordsError: the name cannot be part of a folder's name, or the place cannot be written to or is full.
    """
    if not _NAME.fullmatch(name):
        raise RecordsError(
            f"the run's name {name!r} cannot be used in a folder's name; set name to 1 to 100 letters, digits or "
            "any of . _ = + , - (the first a letter or digit)"
        )
    if not str(output_dir).strip():
        raise RecordsError("output-dir is empty; set it to the folder that shall hold the runs, such as ~/dimat-flwr")
    expanded = os.path.expanduser(output_dir)
    if expanded.startswith("~"):
        raise RecordsError(f"output-dir {str(output_dir)!r} names a home folder that is unknown; give the whole path")
    base = Path(expanded).absolute()
    try:
        base.mkdir(parents=True, exist_ok=True)
        folder = _make_fresh(base, f"{now:%Y-%m-%d_%H%M%S}-{name}") if now else _make(base / name)
    except OSError as error:
        raise _unwritable(base, error) from error
    try:
        _try_out(folder)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)  # the message below matters, not what is left of the trial
        raise _unwritable(base, error) from error
    except RecordsError:
        folder.rmdir()
        raise
    return folder


def _make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def _make_fresh(base: Path, stem: str) -> Path:
    folder, count = base / stem, 1
    while True:
        try:
            folder.mkdir()
        except FileExistsError:
            count += 1
            folder = base / f"{stem}-{count}"
        else:
            return folder


def _try_out(folder: Path) -> None:
    free = shutil.disk_usage(folder).free
    if free < _FREE_BYTES_NEEDED:
        raise RecordsError(
            f"only {free / 1e6:.1f} MB are free at {folder.parent}, and a run's records may need "
            f"{_FREE_BYTES_NEEDED / 1e6:.0f} MB; free some space or set output-dir to another disk"
        )
    probe = folder / ".probe"
    with probe.open("wb") as file:  # a quota or a full disk shows only when bytes really reach it
        file.write(b"\0" * _PROBE_BYTES)
        file.flush()
        os.fsync(file.fileno())
    probe.unlink()


def _unwritable(base: Path, error: OSError) -> RecordsError:
    in_the_way = next((p for p in (base, *base.parents) if p.exists() and not p.is_dir()), None)
    reason = f"{in_the_way} is a file" if in_the_way else error.strerror
    return RecordsError(
        f"cannot write a run's records to {base}: {reason}; set output-dir to a folder you can write to"
    )
