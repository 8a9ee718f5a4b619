"""When peers exchange: one schedule a file, one yaml in ``conf/schedule`` each."""

from dimat_flwr.topology.schedules.base import FinalMerge, Mode, Schedule

__all__ = ["FinalMerge", "Mode", "Schedule"]
