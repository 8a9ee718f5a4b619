"""The bundle that `flwr build` and `flwr run` make of the app: Flower's strict format, with all that a device needs."""

import io
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def bundle() -> tuple[zipfile.ZipFile, object]:
    from flwr.cli.build import build_fab_from_files
    from flwr.cli.utils import collect_files

    data, metadata = build_fab_from_files(collect_files(ROOT))
    assert len(data) < 10_000_000, "Flower's limit"
    return zipfile.ZipFile(io.BytesIO(data)), metadata


def test_the_app_passes_flower_s_checks_without_a_warning() -> None:
    from flwr.cli.config_utils import load_and_validate

    _, warnings = load_and_validate(ROOT / "pyproject.toml")
    assert warnings == []


def test_the_bundle_is_of_the_strict_format(bundle: tuple[zipfile.ZipFile, object]) -> None:
    from packaging.requirements import Requirement

    _, metadata = bundle
    assert vars(metadata) == {
        "fab_format_version": 1, "flwr_version_min": "1.40", "flwr_version_target": "1.41.0",
    }  # fmt: skip
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (needed,) = [one for one in map(Requirement, project["dependencies"]) if one.name == "flwr"]
    assert "1.41.0" in needed.specifier


def test_the_bundle_has_the_app_its_configuration_and_the_license_and_nothing_else(
    bundle: tuple[zipfile.ZipFile, object],
) -> None:
    found = {name for name in bundle[0].namelist() if not name.startswith(".info/")}
    parts = {"apps": "**/*.py", "dimat_flwr": "**/*.py", "conf": "**/*.yaml"}
    wanted = {f"{path.relative_to(ROOT)}" for part, files in parts.items() for path in (ROOT / part).glob(files)}
    assert wanted | {"README.md", "LICENSE", "pyproject.toml"} == {
        name for name in found if not name.startswith(".info")
    }
    assert bundle[0].read("LICENSE") == (ROOT / "LICENSE").read_bytes()
