"""Who takes part in a run, and in which place: nodes are asked as they come, until every place is claimed.

``relay.peers`` is how many places there are, not how many nodes to wait for: a node that claims none of them is a
spare, whatever its id, and a run that is gone on with waits for those whose places it needs.
"""

from collections.abc import Collection
from logging import getLogger

from dimat_flwr.relay.clock import Clock, Pause, SignOfLife
from dimat_flwr.relay.envelope import RunFacts
from dimat_flwr.relay.handshake import JOIN_POLL_S, claim_of, hello
from dimat_flwr.relay.log_line import in_one_line
from dimat_flwr.relay.membership import Claim, MembershipError, Seating, SetupError, require_no_problem
from dimat_flwr.relay.post import Post, Reply
from dimat_flwr.relay.questions import Questions
from dimat_flwr.relay.settings import RelaySettings
from dimat_flwr.wire import names

_NAMED = 10  # nodes in a line
_log = getLogger("flwr")


def agree_on_places(
    post: Post, facts: RunFacts, settings: RelaySettings, clock: Clock, without: Collection[int] = ()
) -> dict[int, Claim]:
    """Return place -> what the node in it said, once every place is claimed that must be.

    Nodes are asked when they are seen first. When ``join_timeout`` is over, ``min_peers`` are enough; so they are at
    once in a simulation, where nobody comes later. Who was asked before that may take longer to answer.

    Args:
        post: the way to the nodes.
        facts: the run's constants.
        settings: how long to wait, and for how many.
        clock: what time it is.
        without: places that may stay empty, since their peers are out of a run that is gone on with.

    Raises:
        SetupError: a node cannot take part, or does not answer.
        MembershipError: places are empty at the end, or one is claimed by two nodes.
    """
    return _Gathering(post, facts, settings, clock, without).result()


class _Gathering:
    def __init__(
        self, post: Post, facts: RunFacts, settings: RelaySettings, clock: Clock, without: Collection[int]
    ) -> None:
        self._post, self._facts, self._settings, self._clock = post, facts, settings, clock
        self._without = without
        self._questions = Questions[int](post)  # by node
        self._since: dict[int, float] = {}  # node -> when it was asked
        self._claims: dict[int, Claim] = {}  # by node
        self._gone: set[int] = set()  # nodes that went after they had claimed a place that is theirs still
        self._warned: set[int] = set()

    def result(self) -> dict[int, Claim]:
        deadline = self._clock.now() + self._settings.join_timeout
        looked, pause = float("-inf"), Pause(self._clock.now())
        alive = SignOfLife(self._clock.now(), _log.info)
        while True:
            now = self._clock.now()
            if now - looked >= JOIN_POLL_S:
                self._look(now)
                looked = now
            heard = self._questions.collect()
            for node, reply in heard:
                self._hear(node, reply)
            # In a simulation messages queue for workers, and waiting for a worker is not being silent.
            if not (self._post.simulation and self._questions.open()):
                seating = self._seating()
                is_over = (self._post.simulation and bool(self._since)) or self._clock.now() > deadline
                if self._is_decided(seating, is_over):
                    found = self._decide(seating)
                    self._questions.forget_all_but(())
                    return found
            alive.waiting(now, self._waited_for)
            if heard:
                pause.reset(self._clock.now())
            else:
                self._clock.sleep(pause.seconds(self._clock.now(), self._clock.now() - now))

    def _look(self, now: float) -> None:
        """Ask whom nobody has asked yet; who has gone is a new one when it is back.

        The place that it has claimed stays its own, as if it had gone later, unless somebody else claims it, too.
        """
        connected = self._post.nodes()
        gone = self._since.keys() - set(connected)
        for node in gone:
            del self._since[node]
            claim = self._claims.get(node)
            if claim and (claim.place < 0 or claim.problem or self._is_claimed_twice(claim.place)):
                del self._claims[node]
            elif claim:
                self._gone.add(node)
        self._questions.forget_all_but(connected)
        self._questions.ask_again(connected)
        for node in connected:
            if node not in self._since:
                self._since[node] = now
                self._gone.discard(node)
                self._questions.ask(node, node, names.SETUP_MESSAGE, hello(self._facts))

    def _hear(self, node: int, reply: Reply) -> None:
        claim = self._claims[node] = claim_of(node, reply)
        for other in [other for other in self._gone if self._claims[other].place == claim.place]:
            del self._claims[other]
            self._gone.discard(other)

    def _is_claimed_twice(self, place: int) -> bool:
        return sum(claim.place == place for claim in self._claims.values()) > 1

    def _seating(self) -> Seating:
        # By place and node, so that places and errors do not depend on who answered first.
        claims = sorted(self._claims.values(), key=lambda claim: (claim.place, claim.node))
        return Seating.of(claims, self._facts.peers, self._without, by_claim=self._facts.resumed)

    def _is_decided(self, seating: Seating, is_over: bool) -> bool:
        if not (seating.is_complete or is_over):
            self._warn_of_rivals(seating)
            return False
        silent = self._questions.open()
        if not silent:
            return True
        if seating.is_complete:  # who is not needed for it is given the time that all have to come
            return is_over
        now, patience = self._clock.now(), self._settings.give_up_timeout
        return all(now - self._since[node] > patience for node in silent)

    def _decide(self, seating: Seating) -> dict[int, Claim]:
        require_no_problem(list(seating.taken.values()))
        fewest = self._settings.min_peers
        if seating.rivals or (seating.empty and (fewest is None or len(seating.taken) < fewest)):
            raise self._refusal(seating)
        seating.require_one_mode()
        for claim, why in seating.left_over():
            _log.warning("node %d has no part in the run: it %s", claim.node, why)
        if seating.empty:
            _log.warning("the run begins with %d of %d peers", len(seating.taken), self._facts.peers)
        _log.info("%d peers are ready", len(seating.taken))
        return dict(seating.taken)

    def _waited_for(self) -> str:
        told = [self._seating().faults()]
        if silent := sorted(self._questions.open().values()):
            named = ", ".join(map(str, silent[:_NAMED])) + (", ..." if len(silent) > _NAMED else "")
            told.append(f"nodes {named} have not answered yet")
        return "waiting for peers: " + in_one_line("; ".join(text for text in told if text))

    def _refusal(self, seating: Seating) -> Exception:
        if seating.empty and (silent := sorted(self._questions.open())):
            return SetupError(f"nodes {silent} did not answer the handshake; are they running?\n{seating.faults()}")
        fewest = self._settings.min_peers or self._facts.peers - len(self._without)
        there = len(seating.taken.keys() - set(self._without))
        are = "peer is" if there == 1 else "peers are"
        told = f"{there} {are} there, the run needs at least {fewest}: {seating.faults()}"
        if self._facts.resumed and seating.empty:
            told += (
                "\nA run that is gone on with needs all peers that have not failed, whatever relay.min_peers is; where "
                "a device is gone for good, start a new run from the models that this one has saved "
                "(training.initialization=file)"
            )
        if self._post.simulation and seating.empty:
            told += f'\nIn a simulation pass --federation-config "num-supernodes={self._facts.peers}"'
        return MembershipError(told)

    def _warn_of_rivals(self, seating: Seating) -> None:
        """Say early what is waited for: a SuperNode that was started anew has the old one beside it for a while."""
        for place, claims in seating.rivals.items():
            if place not in self._warned:
                self._warned.add(place)
                _log.warning(
                    "nodes %s both claim place %d; waiting for one of them to go",
                    " and ".join(str(claim.node) for claim in claims),
                    place,
                )
