"""Laying out the files that the documentation shows as if they were part of the repository."""

import importlib
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.in_process_app import ROOT

LayOut = Callable[[Mapping[str, str]], None]


@contextmanager
def laying_out(place: Path) -> Iterator[LayOut]:
    """Yield what writes files under a folder, which has a ``conf/``; their modules can be imported until the end."""
    before = set(sys.modules)

    def write(files: Mapping[str, str]) -> None:
        patch.syspath_prepend(str(place))
        for name, content in files.items():
            path = place / name
            assert not (ROOT / name).exists(), f"{name} is shown as new, but it is there already"
            assert not path.exists(), f"{name} is shown twice"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content, encoding="utf-8")
            folder = Path(name).parent
            if folder.parts[0] == "dimat_flwr":
                package = importlib.import_module(".".join(folder.parts))
                patch.setattr(package, "__path__", [*package.__path__, str(path.parent)])
        importlib.invalidate_caches()

    with pytest.MonkeyPatch.context() as patch:
        yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "") or "").startswith(str(place)):
            del sys.modules[name]
