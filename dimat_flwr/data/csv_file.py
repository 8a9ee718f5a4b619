"""A device's own rows of numbers in one .csv file."""

import csv
import math
import os.path
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.errors import DataError
from dimat_flwr.data.own_classes import AgreedNames, check_class_names, indices_of, set_aside
from dimat_flwr.data.tables import Table, TableSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class CsvFile(TableSource):
    """``<data_dir>/<file>``: a line of column names, then rows of numbers and a class, each device its own.

    Where ``<data_dir>/<test_file>`` exists it is for testing, its columns the same in any order; otherwise a fifth of
    each class, always the same one. The order of the features is that of ``columns``, which all devices share; where
    those are not given, that of the device's own file: then all must have been written alike.

    Features are standardized by ``mean`` and ``std``, which all devices share; where those are not given, by the
    device's own, which never leave it but make one value mean different things at different devices.

    Attributes:
        file: name of the file.
        test_file: name of the file for testing.
        label: name of the column with the class.
        columns: names of all others, in the order in which they go to the network; None: that of the file.
        classes: the classes' names, in the same order at every device, which may lack some.
    """

    num_classes: int = 2
    features: int = 30
    classes: AgreedNames = ("0", "1")
    file: str = Field(default="data.csv", min_length=1)
    test_file: str = Field(default="test.csv", min_length=1)
    label: str = Field(default="label", min_length=1)
    columns: AgreedNames | None = None

    @model_validator(mode="after")
    def _settings_fit(self) -> "CsvFile":
        check_class_names(self.classes, self.num_classes)
        names = self.columns
        if names is not None and not len(names) == len({*names} - {self.label}) == self.features:
            raise ValueError(
                f"columns needs {self.features} different names, one for each feature and none for the label "
                f"'{self.label}'; it has {', '.join(names)}"
            )
        if os.path.normpath(self.file) == os.path.normpath(self.test_file):
            raise ValueError(f"file and test_file are both '{self.file}'; rows for training are none for testing")
        return self

    def check(self) -> None:
        """Look for the file; see ``DataSource.check``."""
        if not self._path(self.file).is_file():
            raise DataError(
                f"{self._path(self.file)} does not exist; set data-dir to its folder, or dataset.file to its name"
            )

    def tables(self) -> tuple[Table, Table]:
        """Read the rows; see ``TableSource.tables``."""
        names, whole = self._table(self._path(self.file), self.columns, "the run agreed on")
        if self._path(self.test_file).is_file():
            return whole, self._table(self._path(self.test_file), names, f"{self._path(self.file)} has")[1]
        kept, aside = set_aside(whole.labels, self.num_classes, str(self._path(self.file)))
        return Table(whole.rows[kept], whole.labels[kept]), Table(whole.rows[aside], whole.labels[aside])

    def _path(self, name: str) -> Path:
        if self.data_dir is None:
            raise DataError(
                f"the device's own {name} was not found: data-dir is not set; name the folder that holds it"
            )
        return Path(self.data_dir).expanduser() / name

    def _table(self, path: Path, agreed: Sequence[str] | None, whose: str) -> tuple[list[str], Table]:
        """Return the features' names in the order of the rows, which is that of ``agreed``, and the rows."""
        rows: list[list[float]] = []
        labels: list[str] = []
        try:
            with path.open(newline="", encoding="utf-8-sig") as file:
                reader = csv.reader(file, strict=True)
                header = next(reader, [])
                names = self._names(path, header, agreed, whose)
                places, label = [header.index(name) for name in names], header.index(self.label)
                for cells in reader:
                    if not cells:  # an empty line
                        continue
                    if len(cells) != len(header):
                        raise DataError(
                            f"{path}, line {reader.line_num}: {len(cells)} cells below {len(header)} column names; "
                            "repair or remove the row"
                        )
                    labels.append(cells[label].strip())
                    rows.append([_number(cells[place], path, reader.line_num, header[place]) for place in places])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DataError(f"{path} cannot be read ({error})") from error
        if not rows:
            raise DataError(f"{path} has no row below the column names")
        return names, Table(np.array(rows, dtype=np.float64), indices_of(labels, self.classes, str(path)))

    def _names(self, path: Path, header: list[str], agreed: Sequence[str] | None, whose: str) -> list[str]:
        """Return the names of the features, in the agreed order; without one, the file's."""
        if self.label not in header:
            raise DataError(
                f"{path} has no column '{self.label}'; set dataset.label to one of {', '.join(header) or 'its names'}"
            )
        features = [name for name in header if name != self.label]
        if len(features) != self.features or len(set(header)) != len(header):
            raise DataError(
                f"{path} has {len(features)} columns besides '{self.label}' ({len(set(header))} different names in "
                f"all), the run agreed on dataset.features={self.features}"
            )
        if agreed is None:
            return features
        if lacking := [name for name in agreed if name not in features]:
            strange = [name for name in features if name not in agreed]
            raise DataError(
                f"{path} has the columns {', '.join(strange[:3])} where {whose} {', '.join(lacking[:3])}; rename them"
            )
        return list(agreed)


def _number(text: str, path: Path, line: int, column: str) -> float:
    try:
        number = math.nan if "_" in text else float(text)  # Python takes 1_000 for a number
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise DataError(f"{path}, line {line}: {column} is {text!r}, not a finite number; repair or remove the row")
    return number
