"""Who receives from whom, with what weight and when: graphs, mixing matrices and schedules. Pure numpy and networkx."""

from dimat_flwr.topology.base import Topology
from dimat_flwr.topology.errors import ScheduleError, TopologyError
from dimat_flwr.topology.mixing import Mixing, Weights, renormalize
from dimat_flwr.topology.schedules import FinalMerge, Mode, Schedule
from dimat_flwr.topology.spectral import spectral_gap

__all__ = [
    "FinalMerge",
    "Mixing",
    "Mode",
    "Schedule",
    "ScheduleError",
    "Topology",
    "TopologyError",
    "Weights",
    "renormalize",
    "spectral_gap",
]
