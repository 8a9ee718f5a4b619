"""A place where the files that the documentation shows are laid out as if they were part of the repository."""

import importlib
import logging
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.in_process_app import ROOT

LayOut = Callable[[Mapping[str, str]], None]
Start = Callable[[list[str]], tuple[int, dict[str, Any]]]


@pytest.fixture
def conf_dir(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "conf", tmp_path / "conf"))


@pytest.fixture
def lay_out(tmp_path: Path, conf_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LayOut]:
    """Return what writes files under the temporary folder and makes their modules importable by the names shown."""
    before = set(sys.modules)

    def write(files: Mapping[str, str]) -> None:
        monkeypatch.syspath_prepend(str(tmp_path))
        for name, content in files.items():
            path = tmp_path / name
            assert not (ROOT / name).exists(), f"{name} is shown as new, but it is there already"
            assert not path.exists(), f"{name} is shown twice"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            folder = Path(name).parent
            if folder.parts[0] == "dimat_flwr":
                package = importlib.import_module(".".join(folder.parts))
                monkeypatch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
        importlib.invalidate_caches()

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(tmp_path)):
            del sys.modules[name]


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
