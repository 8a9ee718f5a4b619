"""A place where the files that the documentation shows are laid out as if they were part of the repository."""

import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.docs.laying_out import LayOut, laying_out
from tests.in_process_app import ROOT

Start = Callable[[list[str]], tuple[int, dict[str, Any]]]


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))


@pytest.fixture
def lay_out(tmp_path: Path, conf_dir: Path) -> Iterator[LayOut]:
    """Return what writes files under the temporary folder and makes their modules importable by the names shown."""
    with laying_out(tmp_path) as write:
        yield write


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch, conf_dir: Path) -> Iterator[Start]:
    """Return what gives a ``dimat-flwr local`` command to the real command line, up to the start of its run.

    It returns the number of peers and the run-config that the run would have had.
    """
    import dimat_flwr.conf_dir
    import dimat_flwr.launch
    import dimat_flwr.local
    from dimat_flwr.cli import app

    monkeypatch.setattr(dimat_flwr.conf_dir, "find_conf_dir", lambda: conf_dir)
    log = logging.getLogger("flwr")
    handlers, level = log.handlers, log.level

    def start(words: list[str]) -> tuple[int, dict[str, Any]]:
        asked: dict[str, Any] = {}
        post = dimat_flwr.local.LocalPost

        def posted(peers: int, *rest: Any) -> Any:
            asked["peers"] = peers
            return post(peers, *rest)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(dimat_flwr.local, "LocalPost", posted)
            patch.setattr(dimat_flwr.launch, "launch", lambda run_config, *rest: asked.update(run_config=run_config))
            result = CliRunner().invoke(app, words[1:])
        assert result.exit_code == 0, result.output
        return asked["peers"], asked["run_config"]

    yield start
    log.handlers, log.level = handlers, level
