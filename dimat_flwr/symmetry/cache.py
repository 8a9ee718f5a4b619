"""Specifications kept on disk: found and proven once per network, then read in milliseconds."""

import os
import tempfile
import warnings
from pathlib import Path

from torch import nn

from dimat_flwr.symmetry.errors import SymmetryError
from dimat_flwr.symmetry.fingerprint import fingerprint
from dimat_flwr.symmetry.serialization import spec_from_json, spec_to_json
from dimat_flwr.symmetry.spec import PermutationSpec
from dimat_flwr.symmetry.tracing.call import Example


def cached_permutation_spec(model: nn.Module, example_input: Example, folder: Path) -> PermutationSpec:
    """Return the proven specification of a network from a folder, finding and storing it if it is not there.

    A file is named by a hash of all that the specification depends on (see ``fingerprint``), so nothing in the folder
    is ever stale, and it may be deleted at any time. Any number of processes may use it at once: a file is written
    under another name and then renamed, and two that find the same thing write the same. Reading imports no tracer.

    Args:
        model: as for ``find_permutation_spec``; a specification that was read keeps it, to trace it when it is run.
        example_input: as for ``find_permutation_spec``.
        folder: where the files are; made if it is missing.

    Raises:
        TraceError: as ``find_permutation_spec``.
        OSError: the folder cannot be made or written.
    """
    path = folder / f"{fingerprint(model, example_input)}.json"
    if path.exists():
        try:
            return spec_from_json(path.read_text(encoding="utf-8"), model, example_input)
        except (SymmetryError, UnicodeDecodeError, FileNotFoundError) as error:
            warnings.warn(f"{path} cannot be used and is replaced: {error}", stacklevel=2)
    from dimat_flwr.symmetry.find import find_permutation_spec  # heavy, and not needed to read

    spec = find_permutation_spec(model, example_input)
    folder.mkdir(parents=True, exist_ok=True)
    handle, written = tempfile.mkstemp(dir=folder, prefix=f".{path.stem}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(spec_to_json(spec))
        os.replace(written, path)
    except BaseException:
        Path(written).unlink(missing_ok=True)
        raise
    return spec
