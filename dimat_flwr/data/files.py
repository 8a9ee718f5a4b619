"""Finding a data set's files, or saying plainly what is missing and how to get it."""

from collections.abc import Sequence
from pathlib import Path

from dimat_flwr.data.errors import DataError


def find_folder(what: str, folders: Sequence[Path], names: Sequence[str], remedy: str) -> Path:
    """Return the first folder that holds all the files or folders named.

    Args:
        what: the data set, for errors.
        folders: where to look, in this order.
        names: what must be there; ``name.gz`` counts as ``name``.
        remedy: how to get the files.

    Raises:
        DataError: no folder holds them all; it lists what is missing where.
    """
    faults = []
    for folder in folders:
        missing = [name for name in names if not any(path.exists() for path in (folder / name, folder / f"{name}.gz"))]
        if not missing:
            return folder
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        faults.append(f"{folder} does not exist" if not folder.is_dir() else f"{folder} lacks {missing[0]}{more}")
    where = "; ".join(faults) if faults else "data_dir is not set"
    raise DataError(f"{what} was not found: {where}. {remedy}")


def data_folders(data_dir: str | None, subfolder: str, *system: str) -> list[Path]:
    """Return where to look for a data set: its sub-folder of ``data_dir`` if that is set, then the system's folders."""
    own = [] if data_dir is None else [Path(data_dir).expanduser() / subfolder]
    return [*own, *(Path(folder) for folder in system)]


def torchvision_remedy(cls: str, data_dir: str | None, url: str) -> str:
    """Return how to get a data set that torchvision can download, and what to set afterwards."""
    folder = "~/data" if data_dir is None else data_dir
    command = f"""python -c "from torchvision.datasets import {cls} as D; import os; """
    command += f"""D(os.path.expanduser('{folder}'), download=True)\""""
    then = f", then set data-dir to '{folder}'" if data_dir is None else ""
    return f"Nothing is downloaded by itself; get it with: {command} (from {url}){then}"
