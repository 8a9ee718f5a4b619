"""The relay: who is in the run, who gets whose payload and when. It forwards payloads and never opens one.

Nothing here imports torch or does arithmetic on arrays.
"""

from dimat_flwr.relay.membership import MembershipError, SetupError
from dimat_flwr.relay.plan import Step, make_plan
from dimat_flwr.relay.run import is_simulation, run_relay
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.relay.strategy import Relay

__all__ = [
    "MembershipError",
    "Relay",
    "RelaySettings",
    "SetupError",
    "Step",
    "is_simulation",
    "make_plan",
    "run_relay",
]
