"""Identities as texts and files: what was written comes back, and everything else is refused in words."""

import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from dimat_flwr.cli import app
from dimat_flwr.security.identity import (
    Identity,
    IdentityError,
    Introduction,
    PublicIdentity,
    new_nonce,
    read_introduction,
)
from dimat_flwr.security.key_files import read_identity, read_known_peers, write_identity

OWN = Identity(bytes(range(32)))
# Its public keys, computed with hmac alone (RFC 5869): no key file may ever come to mean another identity.
PINNED = "ed25519+x25519:kjkHxirr5qQP713IsazGCkeosStqGDl3KC/qMcdIoREwN04vcn2gIJpwITN6QFVAVR7Si6nylENf8IYWL53dNQ=="
LOW_ORDER = PublicIdentity(OWN.public.signing, bytes(32))  # a point with which every shared secret is zero


def test_a_secret_makes_the_same_identity_on_every_machine() -> None:
    assert str(OWN.public) == PINNED
    assert PublicIdentity.parse(PINNED) == OWN.public


def test_signatures_are_ed25519() -> None:
    signature = OWN.sign(b"data")
    Ed25519PublicKey.from_public_bytes(OWN.public.signing).verify(signature, b"data")
    assert OWN.public.has_signed(signature, b"data")
    assert not OWN.public.has_signed(signature, b"date")
    assert not Identity.new().public.has_signed(signature, b"data")


def test_two_share_a_secret_and_a_third_has_another() -> None:
    a, b, c = (Identity.new() for _ in range(3))
    assert a.shared_secret(b.public.sealing) == b.shared_secret(a.public.sealing) != c.shared_secret(a.public.sealing)
    with pytest.raises(IdentityError, match="no secret can be shared"):
        a.shared_secret(bytes(32))


@pytest.mark.parametrize("seals", [False, True])
def test_an_introduction_comes_back(seals: bool) -> None:
    said = Introduction(OWN.public, new_nonce(), seals)
    assert read_introduction(str(said)) == said
    assert len(str(said)) < 150


WHOLE = str(Introduction(OWN.public, bytes(16), True))


@pytest.mark.parametrize(
    "text",
    ["", "seal", WHOLE[:-1], WHOLE + "=", WHOLE.replace("seal", "steal"), WHOLE.replace("x25519", "x448"), f" {WHOLE}",
     str(Introduction(LOW_ORDER, bytes(16), True)), WHOLE[:60] + "\u00e9" + WHOLE[61:]],
)  # fmt: skip
def test_a_malformed_introduction_is_refused(text: str) -> None:
    with pytest.raises(IdentityError):
        read_introduction(text)


@given(st.text(st.characters(max_codepoint=255), max_size=200))
@settings(max_examples=40)
def test_any_text_is_refused_as_an_introduction(text: str) -> None:
    with pytest.raises(IdentityError):
        read_introduction(text)
    with pytest.raises(IdentityError):
        PublicIdentity.parse(text)


def test_the_command_makes_a_private_file_and_shows_the_public_key(tmp_path: Path) -> None:
    path = tmp_path / "key"
    old = os.umask(0)
    try:
        made = CliRunner().invoke(app, ["keys", "new", str(path)])
    finally:
        os.umask(old)
    assert made.exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public = made.stdout.strip()
    assert PublicIdentity.parse(public) == read_identity(path).public
    assert CliRunner().invoke(app, ["keys", "show", str(path)]).stdout.strip() == public
    secret = read_identity(path).secret
    assert secret.hex() not in made.output
    again = CliRunner().invoke(app, ["keys", "new", str(path)])
    assert again.exit_code == 1
    assert "is not overwritten" in again.output
    assert read_identity(path).secret == secret


def test_no_two_identities_are_alike(tmp_path: Path) -> None:
    assert len({write_identity(tmp_path / str(k)).secret for k in range(5)}) == 5


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_key_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "key"
    write_identity(path)
    path.chmod(mode)
    with pytest.raises(IdentityError, match=f"mode {mode:04o}.*chmod 600"):
        read_identity(path)


@pytest.mark.parametrize("text", ["", "# nothing\n", "zz" * 32, "00" * 31, "00" * 33, f"{'00' * 32}\n{'00' * 32}"])
def test_a_key_file_that_holds_something_else_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(IdentityError, match="holds no identity"):
        read_identity(path)
    assert "cannot be read: No such file" in CliRunner().invoke(app, ["keys", "show", str(tmp_path / "no")]).output
    assert "cannot be written" in CliRunner().invoke(app, ["keys", "new", str(tmp_path / "no" / "key")]).output


def test_known_peers_are_read_by_place(tmp_path: Path) -> None:
    path = tmp_path / "known_peers"
    others = [Identity.new().public for _ in range(2)]
    path.write_text(f"# the others\n3  {others[0]}  # the one in the cellar\n\n0 {others[1]}\n")
    assert read_known_peers(path) == {3: others[0], 0: others[1]}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("0", "line 2 .*is not of the form: place public-key"),
        (f"-1 {OWN.public}", "not of the form"),
        (f"\u0663 {OWN.public}", "not of the form"),
        (f"0 {OWN.public} x", "not of the form"),
        (f"1 {OWN.public}", "names place 1 a second time"),
        ("0 ssh-ed25519", "line 2 .*is no public key"),
        (f"0 {LOW_ORDER}", "no key that anything can be sealed for"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, line: str, reason: str) -> None:
    path = tmp_path / "known_peers"
    path.write_text(f"1 {OWN.public}\n{line}\n", encoding="utf-8")
    with pytest.raises(IdentityError, match=reason):
        read_known_peers(path)


def test_a_disk_that_takes_no_key_leaves_no_file_in_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(IdentityError, match="key cannot be written: No space left on device"):
            write_identity(tmp_path / "key")
    assert write_identity(tmp_path / "key") == read_identity(tmp_path / "key")
