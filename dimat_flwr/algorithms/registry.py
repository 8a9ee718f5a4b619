"""The list of algorithms: one yaml in ``conf/algorithm`` each, whose class says what it is."""

from pathlib import Path

from hydra.utils import get_class
from omegaconf import OmegaConf

from dimat_flwr.algorithms.interface import About, Algorithm


def available_algorithms(conf_dir: Path) -> dict[str, About]:
    """Return key -> name, paper and one-line description of every algorithm, by key.

    Args:
        conf_dir: the folder ``conf/``; the keys are what ``algorithm='...'`` takes.
    """
    found: dict[str, About] = {}
    for path in sorted((conf_dir / "algorithm").glob("*.yaml")):
        loaded = OmegaConf.load(path)
        # A yaml that also sets defaults elsewhere has the algorithm under its own name.
        target = OmegaConf.select(loaded, "_target_") or OmegaConf.select(loaded, "algorithm._target_")
        algorithm: type[Algorithm] = get_class(target)
        found[path.stem] = algorithm.about
    return found
