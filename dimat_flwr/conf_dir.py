"""Where the folder ``conf/`` is: inside an installed package, beside it in a checkout."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def find_conf_dir() -> Path:
    """Return the folder with ``config.yaml`` and one folder per group.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for folder in (_PACKAGE / "conf", _PACKAGE.parent / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise FileNotFoundError(f"no conf/config.yaml in {_PACKAGE} or beside it: install dimat-flwr again")
