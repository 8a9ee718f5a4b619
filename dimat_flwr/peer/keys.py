"""A peer's keys in a run: introduced in the handshake, those of the others pinned at the start, then used."""

from collections.abc import Callable
from logging import getLogger
from pathlib import Path

from dimat_flwr.config import Config
from dimat_flwr.data import PLACE
from dimat_flwr.events import Note, PeerEvent
from dimat_flwr.peer.errors import PeerSetupError
from dimat_flwr.peer.memory import memory_folder
from dimat_flwr.peer.nonce_file import NonceFile
from dimat_flwr.peer.state import Trust
from dimat_flwr.security.identity import Identity, Introduction, PublicIdentity, new_nonce, read_introduction
from dimat_flwr.security.key_files import read_identity, read_known_peers
from dimat_flwr.security.protection import Protection
from dimat_flwr.wire.instruction import Instruction

FIRST_USE = (
    "keys taken from the relay on first use: it could have put its own in their place; list them in "
    "security.known_peers"
)
MADE_UP = (
    "security.key_file is not set, so keys were made for this simulation: they show what signing and sealing cost, and "
    "protect nothing"
)
_NAMED = 5  # places in an error
_log = getLogger("flwr")


def introduce(config: Config, instruction: Instruction, place: int, trust: Trust) -> str:
    """Return what the others are to know of this peer, after checking its key files; empty where nobody signs.

    Args:
        config: the run's configuration.
        instruction: of the setup.
        place: the place in the topology that the peer claims, -1 where it has none yet.
        trust: takes the nonce, and the identity where it is made up. What is there already is kept: a relay that asks
            a second time must not make the peer forget.

    Raises:
        IdentityError: a key file is missing, malformed, or open to others.
        PeerSetupError: there is no key file, the known peers are not all the others, or the disk does not take what
            the peer says of itself.
    """
    settings = config.security
    if not settings.sign:
        return ""
    if settings.key_file is None:
        if not instruction.simulation:
            raise PeerSetupError(
                "security.sign needs an identity of this device: make one with dimat-flwr keys new FILE, and give its "
                "SuperNode key-file in --node-config"
            )
        trust.secret = trust.secret or Identity.new().secret.hex()
    own = _identity(config, place, trust)
    if settings.known_peers is not None:
        _check_known_peers(config, instruction.peers, place, own)
    kept = _nonce_file(config, instruction, own)
    trust.nonce = trust.nonce or (kept.read() if kept else "") or new_nonce().hex()
    if kept:
        kept.keep(trust.nonce)
    return str(Introduction(own.public, bytes.fromhex(trust.nonce), settings.seal))


def protection(
    config: Config, instruction: Instruction, trust: Trust, record: Callable[[PeerEvent], None]
) -> Protection | None:
    """Return what signs, seals and opens this peer's payloads; None in a run that does not sign.

    Args:
        config: the run's configuration.
        instruction: what is asked; the first one introduces the others.
        trust: takes the others' introductions, once.
        record: takes a warning where nobody vouches for them.

    Raises:
        IdentityError: a key file cannot be used any more, or an introduction is malformed.
        PeerSetupError: the relay has introduced others than ``known_peers`` lists, than before, or not everybody; or
            this peer as somebody else than it can be now.
    """
    if not config.security.sign:
        return None
    own = _identity(config, instruction.peer, trust) if trust.nonce or config.security.key_file else None
    kept = _nonce_file(config, instruction, own) if own else None
    if kept and not trust.nonce:
        trust.nonce = kept.read()
    if not (own and trust.nonce):
        raise PeerSetupError("this peer signs, but the relay has left out the handshake, in which it introduces itself")
    if instruction.introductions:
        others = {place: text for place, text in instruction.introductions.items() if place != instruction.peer}
        if not trust.introductions:
            meet(config, instruction)
            trust.introductions = others
            _warn(config, record)
        elif others != trust.introductions:
            raise PeerSetupError(
                "the relay has introduced other keys, or this peer in another place, than at the start"
            )
    if len(trust.introductions) != instruction.peers - 1 or instruction.peer in trust.introductions:
        raise PeerSetupError(
            "this peer signs, but the relay has not introduced every other peer to it; all have to take part with "
            "security.sign, in the places of the handshake"
        )
    nonce = bytes.fromhex(trust.nonce)
    mine = str(Introduction(own.public, nonce, config.security.seal))
    if instruction.introductions.get(instruction.peer, mine) != mine:
        raise PeerSetupError(
            "the relay introduces this peer to the others by another key or nonce than it has, and they would refuse "
            "all that it sends: the relay has changed it, or the SuperNode was started anew before exchange 0 was done "
            "and keeps nothing on its disk (checkpoint.save)"
        )
    if kept and instruction.number > 0:
        kept.drop()
    return Protection(own, instruction.peer, nonce, trust.introductions, trust.heard, seal=config.security.seal)


def meet(config: Config, instruction: Instruction) -> None:
    """Check whom the relay introduces.

    Raises:
        IdentityError: an introduction, or the file of known peers, is malformed.
        PeerSetupError: somebody has another key than ``known_peers`` lists, or that of somebody else, or does not seal
            where this peer does.
    """
    found = {place: read_introduction(text) for place, text in instruction.introductions.items()}
    holders: dict[PublicIdentity, list[int]] = {}
    for place, introduction in found.items():
        holders.setdefault(introduction.public, []).append(place)
    for places in holders.values():
        if len(places) > 1:
            raise PeerSetupError(
                f"{_peers(places)} have one and the same key, so that each could speak for the others: make a key-file "
                "on every device by itself with dimat-flwr keys new"
            )
    found.pop(instruction.peer, None)
    unlike = [place for place, introduction in found.items() if introduction.seals != config.security.seal]
    if unlike:
        raise PeerSetupError(f"{_peers(unlike)} and this peer do not agree on security.seal")
    if config.security.known_peers is None:
        return
    known = read_known_peers(_path(config.security.known_peers, instruction.peer))
    wrong = [place for place, introduction in found.items() if introduction.public != known.get(place)]
    if wrong:
        raise PeerSetupError(
            f"the relay introduces {_peers(wrong)} with another key than security.known_peers has: the file is wrong, "
            "the device has a new key, or the relay has put its own in its place"
        )


def _check_known_peers(config: Config, peers: int, place: int, own: Identity) -> None:
    file = str(config.security.known_peers)
    if place < 0:
        raise PeerSetupError(
            "security.known_peers tells peers by their places, but this one does not know its own before the run; "
            "give its SuperNode a partition-id in --node-config"
        )
    known = read_known_peers(_path(file, place))
    missing = [other for other in range(peers) if other != place and other not in known]
    if missing:
        raise PeerSetupError(
            f"security.known_peers {file} has no line for {_peers(missing)} of {peers}; add: place public-key, as "
            "dimat-flwr keys show FILE prints it there"
        )
    if known.get(place, own.public) != own.public:
        raise PeerSetupError(
            f"security.known_peers {file} has another key for peer {place} than security.key_file: one of them, or "
            "partition-id, is another device's"
        )


def _identity(config: Config, place: int, trust: Trust) -> Identity:
    file = config.security.key_file
    return Identity(bytes.fromhex(trust.secret)) if file is None else read_identity(_path(file, place))


def _nonce_file(config: Config, instruction: Instruction, own: Identity) -> NonceFile | None:
    folder = memory_folder(config, instruction)
    return None if folder is None else NonceFile(folder, own.public)


def _path(file: str, place: int) -> Path:
    if PLACE in file and place < 0:
        raise PeerSetupError(
            f"'{file}' names a file for each peer, but this one does not know its place before the run; give its "
            "SuperNode a partition-id in --node-config"
        )
    return Path(file.replace(PLACE, str(place))).expanduser().absolute()


def _warn(config: Config, record: Callable[[PeerEvent], None]) -> None:
    if config.security.key_file is None:
        record(Note("warning", {"text": MADE_UP}))
    elif config.security.known_peers is None:
        record(Note("warning", {"text": FIRST_USE}))
        _log.warning("%s", FIRST_USE)  # here, too: what the relay shows is the relay's word


def _peers(places: list[int]) -> str:
    named = ", ".join(map(str, sorted(places)[:_NAMED])) + (", ..." if len(places) > _NAMED else "")
    return f"peer{'s' if len(places) > 1 else ''} {named}"
