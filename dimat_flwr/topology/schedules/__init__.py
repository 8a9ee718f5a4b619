"""When peers exchange: one schedule a file, one yaml in ``conf/schedule`` each."""

from dimat_flwr.topology.schedules.base import Mode, Schedule

__all__ = ["Mode", "Schedule"]
