"""Every yaml of conf/topology and conf/schedule builds its class and shows all fields with their defaults."""

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from dimat_flwr.topology import Schedule, Topology

ROOT = Path(__file__).parents[2]
YAMLS = [
    (p, base)
    for group, base in (("topology", Topology), ("schedule", Schedule))
    for p in sorted((ROOT / "conf" / group).glob("*.yaml"))
]


@pytest.mark.parametrize(("path", "base"), YAMLS, ids=lambda v: v.stem if isinstance(v, Path) else "")
def test_yaml_and_class_agree(path, base):
    config = OmegaConf.load(path)
    part = instantiate(config)
    assert isinstance(part, base)
    assert part == type(part)()
    fields = {f.name for f in dataclasses.fields(type(part))}
    assert set(config) == fields | {"_target_"}


def concrete(module, base):
    return {
        c
        for c in vars(module).values()
        if isinstance(c, type) and issubclass(c, base) and c.__module__ == module.__name__
    }


@pytest.mark.parametrize(("group", "folder", "base"), [("topology", "", Topology), ("schedule", "schedules", Schedule)])
def test_every_class_has_a_yaml(group, folder, base):
    # From the files, not from __subclasses__(): other tests of the same process may have defined more.
    found = set()
    for path in (ROOT / "dimat_flwr" / "topology" / folder).glob("*.py"):
        found |= concrete(importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts)), base)
    targets = {get_class(OmegaConf.load(p)._target_) for p in (ROOT / "conf" / group).glob("*.yaml")}
    assert found - {base} == targets


def test_the_room_imports_neither_torch_nor_what_is_slow():
    modules = [
        ".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "dimat_flwr" / "topology").rglob("*.py")
    ]
    code = f"import importlib, sys\nfor m in {modules!r}: importlib.import_module(m)\n"
    code += "assert not {'torch', 'networkx', 'scipy', 'flwr'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)
