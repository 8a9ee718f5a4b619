"""Every yaml of conf/dataset and conf/partition builds its class and shows all fields with their defaults."""

import dataclasses
import importlib
import inspect
from pathlib import Path

import pytest
from hydra.utils import get_class, instantiate
from omegaconf import OmegaConf

from dimat_flwr.data import DataSource, Partition

ROOT = Path(__file__).parents[2]
GROUPS = (("dataset", "", DataSource), ("partition", "partitions", Partition))
YAMLS = [(p, base) for group, _, base in GROUPS for p in sorted((ROOT / "conf" / group).glob("*.yaml"))]


@pytest.mark.parametrize(("path", "base"), YAMLS, ids=lambda v: v.stem if isinstance(v, Path) else "")
def test_yaml_and_class_agree(path, base):
    config = OmegaConf.create({"data_dir": None, "part": OmegaConf.load(path)})
    part = instantiate(config.part)
    assert isinstance(part, base)
    assert part == type(part)()
    assert set(config.part) == {f.name for f in dataclasses.fields(type(part))} | {"_target_"}


@pytest.mark.parametrize(("group", "folder", "base"), GROUPS, ids=lambda v: v if isinstance(v, str) else "")
def test_every_class_has_a_yaml(group, folder, base):
    # From the files, not from __subclasses__(): other tests of the same process may have defined more.
    found = set()
    for path in (ROOT / "dimat_flwr" / "data" / folder).glob("*.py"):
        module = importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts))
        own = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
        found |= {c for c in own if issubclass(c, base) and not inspect.isabstract(c)}
    targets = {get_class(OmegaConf.load(p)._target_) for p in (ROOT / "conf" / group).glob("*.yaml")}
    assert found == targets


def test_data_dir_of_the_run_reaches_the_data_set():
    config = OmegaConf.create({"data_dir": "/somewhere", "part": OmegaConf.load(ROOT / "conf/dataset/cifar10.yaml")})
    assert instantiate(config.part).data_dir == "/somewhere"
