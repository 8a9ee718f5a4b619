"""Settings for all tests."""

import gc
import os
import tempfile
from collections.abc import Generator, Iterator

import pytest
from hypothesis import HealthCheck, settings

# Nothing slow is imported here: xdist's own process, which runs no test, would do so before it starts those that do.

gc.disable()  # until the tests begin: of all that is imported and collected nothing is garbage
# A loaded machine is slow, not wrong; and a failure must come again when the test is run again.
settings.register_profile(
    "dimat", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
settings.load_profile("dimat")
# What is kept per machine is kept for one test run only, also by the processes that a test starts.
_CACHE = tempfile.TemporaryDirectory(prefix="dimat-flwr-tests-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name


@pytest.hookimpl(tryfirst=True)
def pytest_runtestloop() -> None:
    """Look for garbage from now on, but not among what is there: a fifth of the time of collecting the tests."""
    gc.freeze()
    gc.enable()


@pytest.hookimpl(wrapper=True, optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> Generator[None, int, int]:
    """Have one process more than ``-n auto`` has where tests wait for Flower's processes, so that no core does."""
    cores = yield
    return cores if "not slow" in config.option.markexpr else cores + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what waits long, so that it is not left for the end, when nothing is there to do meanwhile."""
    items.sort(key=lambda item: item.get_closest_marker("waits") is None)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _blank_plots() -> Iterator[None]:
    """Leave plots blank, a fifth of the time of a small run, but for tests of plots and in other processes."""
    from dimat_flwr.records import report_page

    with pytest.MonkeyPatch.context() as patch:
        for plot in ("plot_accuracy", "plot_topology"):
            patch.setattr(report_page, plot, lambda summary, path: path.write_bytes(b""))
        yield


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """Do not wait for the disk, but in other processes: what the system was given, it has, unless its power goes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield
