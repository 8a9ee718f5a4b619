"""What is done with a cell, in a process of the crew: look whether it can be run, and run it.

These import torch, so this module is imported there only.
"""

import hashlib
import json
import logging
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

from dimat_flwr.conf_dir import find_conf_dir
from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.config.resume import flat, is_elsewhere
from dimat_flwr.data import DataError
from dimat_flwr.launch import REFUSALS, launch, plan_of
from dimat_flwr.local import LocalPost
from dimat_flwr.records import load_summary
from dimat_flwr.relay import run_relay
from dimat_flwr.sweeps.job import Checked, Job, Ran

_ID = 24  # hexadecimal digits
_PEERS = "relay.peers"


def prepare() -> None:
    """Make a fresh process ready: one thread of torch, and Flower's logger silent below errors."""
    import flwr  # noqa: F401 - it sets the level of its logger when it is imported
    import torch

    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)


def free_gpu_bytes(_: object) -> list[int]:
    """Return what is free on each GPU; empty without any."""
    import torch

    return [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]


def check(job: Job) -> Checked:
    """Return the cell's identity, a hash of what its numbers depend on, and whether its data are there.

    Two cells with the same one are the same run: their resolved configurations differ in nothing but places of files,
    patience, and the run's name.

    Raises:
        ConfigError: the configuration has faults, or the sweep an axis that changes no number.
        TopologyError, ScheduleError, PlanError: there is no plan for so many peers and rounds.
    """
    config = load_config(job.run_config, {}, find_conf_dir())
    plan_of(config, job.peers, config.rounds)
    _refuse_places(job.axes)
    values = {key: value for key, value in flat(config.text).items() if key == _PEERS or not is_elsewhere(key)}
    values.pop("name")
    text = json.dumps(values, sort_keys=True)
    missing = None
    try:
        for peer in range(job.peers):
            config.dataset.of(peer).check()
    except DataError as error:
        missing = str(error)
    return Checked(hashlib.sha256(text.encode()).hexdigest()[:_ID], missing)


def run(job: Job) -> Ran:
    """Run a cell from its start, in the place of what an earlier try has left.

    Raises:
        Exception: what ends a run; its record is there all the same.
    """
    import torch

    if job.folder is None:
        raise ValueError("a cell that is to be run needs a folder")
    shutil.rmtree(job.folder, ignore_errors=True)
    forget_size()  # a cell must not inherit what others before it left in this process's account
    began, processor = time.perf_counter(), time.process_time()
    conf_dir, name = find_conf_dir(), job.folder.name
    run_config = {**job.run_config, "output-dir": str(job.folder.parent)}
    post = LocalPost(job.peers, run_config, conf_dir)
    try:
        launch(run_config, conf_dir, job.command, lambda *run: run_relay(post, *run), name)
    except REFUSALS as error:
        raise RuntimeError(str(error)) from None  # the text says all there is to say
    summary = load_summary(job.folder)
    return Ran(
        summary["status"],
        summary["reason"],
        summary["final_accuracy"],
        round(time.perf_counter() - began, 3),
        round(time.process_time() - processor, 3),
        largest_size(),
        torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None,
    )


def forget_size() -> None:
    """Let the largest sizes be those from now on."""
    import torch

    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def largest_gpu_size() -> int | None:
    """Return the most that torch has reserved on the GPU, in bytes; None without one."""
    import torch

    return torch.cuda.max_memory_reserved() if torch.cuda.is_available() else None


def largest_size() -> int | None:
    """Return the largest that this process has been in memory, in bytes; None where the system does not tell."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    return None


def _refuse_places(axes: Collection[str]) -> None:
    if places := [key for key in axes if is_elsewhere(key)]:
        raise ConfigError(
            [f"{key} cannot be an axis: cells are told apart by what they compute, not by places" for key in places]
        )
