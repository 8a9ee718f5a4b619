"""The Wisconsin breast cancer data that come with scikit-learn: a table, real and without any download."""

from typing import ClassVar, Literal

import numpy as np
from pydantic.dataclasses import dataclass

from dimat_flwr.component import STRICT
from dimat_flwr.data.holdout import hold_out
from dimat_flwr.data.packaged import packaged_file, read_numbers
from dimat_flwr.data.tables import Table, TableSource


@dataclass(frozen=True, kw_only=True, config=STRICT)
class BreastCancer(TableSource):
    """569 tumours, 30 measurements each: 212 malignant (class 0) and 357 benign (class 1).

    Four fifths of each class are for training and one for testing, always the same ones.

    Source: Street, Wolberg and Mangasarian, Nuclear feature extraction for breast tumor diagnosis (1993), UCI.
    """

    num_classes: Literal[2] = 2
    features: Literal[30] = 30

    file: ClassVar[str] = "breast_cancer.csv"

    def check(self) -> None:
        """Look for scikit-learn's file; see ``DataSource.check``."""
        packaged_file(self.file, "BreastCancer")

    def tables(self) -> tuple[Table, Table]:
        """Read scikit-learn's file; see ``TableSource.tables``."""
        # The first line says how many rows and columns there are, and the classes' names.
        path = packaged_file(self.file, "BreastCancer")
        table = read_numbers(path, "BreastCancer", columns=self.features + 1, skip=1)
        rows, labels = table[:, :-1], table[:, -1].astype(np.int64)
        train, test = hold_out(labels, self.num_classes)
        return Table(rows[train], labels[train]), Table(rows[test], labels[test])
