"""The typed configuration of a run. Its fields are the one table from which groups, parts and sections derive."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, get_type_hints

from dimat_flwr.algorithms.aggregations import Aggregation
from dimat_flwr.algorithms.corrections import LocalCorrection
from dimat_flwr.algorithms.final_merge import FinalMerge
from dimat_flwr.algorithms.interface import Algorithm
from dimat_flwr.config.settings import (
    BatchNormSettings,
    CheckpointSettings,
    EvaluateSettings,
    PrivacySettings,
    SecuritySettings,
    TrainingSettings,
)
from dimat_flwr.data import DataSource, Partition
from dimat_flwr.instruments import Instruments
from dimat_flwr.learning import LrSchedule, Optimizer
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.seeding import Seeds
from dimat_flwr.topology import Schedule, Topology
from dimat_flwr.wire.codecs.base import Codec

# What a field is: a part chosen by a yaml of the group of its name, of the class that its ``_target_`` names; or a
# section of ``conf/config.yaml``. The others are plain values.
_PART, _SECTION = "part", "section"


@dataclass(frozen=True, eq=False, kw_only=True)
class Config:
    """A run's whole configuration, checked. There is one object of it per process and run, which hashes as itself.

    Attributes:
        model: ``_target_`` and arguments of the network, see ``build_network``.
        choices: group -> the name of the chosen yaml, for records.
        text: the resolved configuration as YAML.
        others: see ``conf/config.yaml``.
    """

    algorithm: Annotated[Algorithm, _PART]
    final_merge: Annotated[FinalMerge, _PART]
    topology: Annotated[Topology, _PART]
    schedule: Annotated[Schedule, _PART]
    dataset: Annotated[DataSource, _PART]
    partition: Annotated[Partition, _PART]
    optimizer: Annotated[Optimizer, _PART]
    lr_schedule: Annotated[LrSchedule, _PART]
    correction: Annotated[LocalCorrection, _PART]
    aggregation: Annotated[Aggregation, _PART]
    codec: Annotated[Codec, _PART]
    instruments: Annotated[Instruments, _PART]
    training: Annotated[TrainingSettings, _SECTION]
    evaluate: Annotated[EvaluateSettings, _SECTION]
    batchnorm: Annotated[BatchNormSettings, _SECTION]
    checkpoint: Annotated[CheckpointSettings, _SECTION]
    security: Annotated[SecuritySettings, _SECTION]
    privacy: Annotated[PrivacySettings, _SECTION]
    relay: Annotated[RelaySettings, _SECTION]
    model: Mapping[str, Any]
    seed: int
    seeds: Seeds
    rounds: int
    name: str
    output_dir: str
    data_dir: str | None
    cache_dir: str
    choices: Mapping[str, str]
    text: str


def _fields(kind: str) -> dict[str, Any]:
    hints = get_type_hints(Config, include_extras=True)
    return {name: hint.__origin__ for name, hint in hints.items() if kind in getattr(hint, "__metadata__", ())}


PARTS = _fields(_PART)
SECTIONS = _fields(_SECTION)
GROUPS = (*PARTS, "model")
