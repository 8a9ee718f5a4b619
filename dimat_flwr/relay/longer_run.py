"""What a run has alike with a longer one: until where it can be gone on with for more rounds."""

from dimat_flwr.relay.plan import Plan
from dimat_flwr.relay.planners import PlanError
from dimat_flwr.topology.exchange import is_observation


def fork(plan: Plan) -> int:
    """Return the last exchange that a run of more rounds would do just so, -1 for none.

    What follows is about the end: the last merge, after which nobody trains, or what is handed to a final merge.
    """
    acting = (n for n in range(len(plan)) if plan.round_of(n) <= plan.rounds and not is_observation(plan.name_of(n)))
    return max(acting) - 1


def shared(plan: Plan, before: Plan) -> int:
    """Return how many exchanges, from the first, peers do along one plan as along that of the run before.

    Args:
        plan: the one that the run is gone on with.
        before: the one that it went along so far.

    Raises:
        PlanError: the new one has fewer rounds.
    """
    if before.rounds > plan.rounds:
        raise PlanError(f"the run was to have {before.rounds} rounds, and cannot be gone on with for {plan.rounds}")
    most = min(len(plan), len(before))
    return next((number for number in range(most) if not _alike(plan, before, number)), most)


def _alike(plan: Plan, before: Plan, number: int) -> bool:
    if (number >= plan.last_act) != (number >= before.last_act):
        return False
    for one in (number, number + 1):  # a peer is told what comes next, too
        if one >= len(plan) or one >= len(before):
            return len(plan) == len(before)
        mine, theirs = plan[one], before[one]
        facts = [(planned.round, planned.name, planned.handler, planned.sums) for planned in (mine, theirs)]
        if facts[0] != facts[1] or not mine.mixing.is_like(theirs.mixing):
            return False
    return True
