"""The relay: who is in the run, who gets whose payload and when. It forwards payloads and never opens one.

Nothing here imports torch or does arithmetic on arrays.
"""

from dimat_flwr.relay.flower_post import FlowerPost
from dimat_flwr.relay.membership import MembershipError, SetupError
from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.relay.post import Post, Reply
from dimat_flwr.relay.session import run_relay
from dimat_flwr.relay.settings import RelaySettings

__all__ = [
    "FlowerPost",
    "MembershipError",
    "Plan",
    "PlanError",
    "Post",
    "RelaySettings",
    "Reply",
    "SetupError",
    "run_relay",
]
