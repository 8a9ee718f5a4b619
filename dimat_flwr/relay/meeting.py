"""Where peers sign: let everybody see how the others introduce themselves, before anything is trained.

A peer whose key is not the one that others have in their ``known_peers`` is so named, and nobody trains for nothing.
Peers rely on what exchange 0 tells them, not on this.
"""

from collections.abc import Mapping

from flwr.app import RecordDict

from dimat_flwr.relay.clock import Clock
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.handshake import answers, claim_of
from dimat_flwr.relay.membership import Claim, require_no_problem
from dimat_flwr.relay.post import Post
from dimat_flwr.relay.questions import Questions
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire import names
from dimat_flwr.wire.instruction import Instruction


def let_all_meet(
    post: Post, claims: Mapping[int, Claim], facts: RunFacts, settings: RelaySettings, clock: Clock
) -> None:
    """Ask every peer whether it takes the others for who they say they are.

    Args:
        post: the way to the nodes.
        claims: place -> what its node said in the handshake.
        facts: the run's constants, with the introductions.
        settings: how long to wait.
        clock: what time it is.

    Raises:
        SetupError: one does not, or does not answer.
    """
    questions = Questions[int](post)
    for place, claim in claims.items():
        questions.ask(place, claim.node, names.MEET_MESSAGE, _introductions(facts, place))
    said = [
        Claim(claims[place].node, place, claim_of(claims[place].node, reply).problem)
        for place, reply in answers(questions, post, settings, clock)
    ]
    require_no_problem(sorted(said, key=lambda claim: claim.place))


def _introductions(facts: RunFacts, place: int) -> RecordDict:
    told = Instruction(
        peer=place,
        peers=facts.peers,
        run=facts.run,
        simulation=facts.simulation,
        rounds=facts.rounds,
        introductions=dict(facts.introductions),
        settings=dict(facts.settings),
    )
    return RecordDict({names.INSTRUCTION: told.to_record()})
