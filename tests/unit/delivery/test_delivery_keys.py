"""Signing keys on disk."""

import stat
from pathlib import Path

import pytest

from edgewright import durable
from edgewright.delivery.repository.keys import ROLES, create_keys, load_keys
from edgewright.errors import DeliveryError, DeliveryUnavailable


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_private_keys_are_their_owners_alone(tmp_path: Path) -> None:
    ring = create_keys(tmp_path / "below" / "keys")

    assert mode(ring.folder) == 0o700
    assert {path.name for path in ring.folder.iterdir()} == {f"{r}.{e}" for r in ROLES for e in ("pem", "pub")}
    for role in ROLES:
        assert mode(ring.folder / f"{role}.pem") == 0o600
        assert mode(ring.folder / f"{role}.pub") & 0o444
        assert (ring.folder / f"{role}.pem").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")
        assert ring.signer(role).public_key == ring.public[role]
    assert len({key.keyid for key in ring.public.values()}) == len(ROLES)
    assert [path.name for path in ring.folder.parent.iterdir()] == ["keys"]


def test_no_instant_shows_a_private_key_to_others(tmp_path: Path) -> None:
    seen: list[int] = []

    def watch(operation: str, path: Path) -> None:
        if operation in {"write", "sync"} and path.suffix == ".pem":
            seen.append(mode(path))

    with durable.watched(watch):
        create_keys(tmp_path / "keys")

    assert seen == [0o600] * 8


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    before = (tmp_path / "keys/root.pem").read_bytes()

    with pytest.raises(DeliveryError, match="already"):
        create_keys(tmp_path / "keys")

    assert (tmp_path / "keys/root.pem").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["keys"]


def test_an_empty_folder_is_used_and_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "keys").mkdir()
    create_keys(tmp_path / "keys")
    (tmp_path / "file").write_text("")

    with pytest.raises(DeliveryError, match="no folder"):
        create_keys(tmp_path / "file")
    with pytest.raises(DeliveryUnavailable, match="cannot write keys"):
        create_keys(tmp_path / "file" / "keys")


def test_an_offline_key_may_be_away_until_it_is_needed(tmp_path: Path) -> None:
    create_keys(tmp_path / "keys")
    (tmp_path / "keys/packages.pem").unlink()
    ring = load_keys(tmp_path / "keys")

    assert not ring.has("packages")
    assert ring.signer("online").public_key == ring.public["online"]
    with pytest.raises(DeliveryError, match="the packages key is not here") as caught:
        ring.signer("packages")
    assert "bring keys/packages.pem here, or publish on the machine that holds it" in str(caught.value)


def test_a_key_others_may_read_is_refused(tmp_path: Path) -> None:
    ring = create_keys(tmp_path / "keys")
    (tmp_path / "keys/online.pem").chmod(0o640)

    with pytest.raises(DeliveryError, match="may be read by others") as caught:
        ring.signer("online")
    assert f"chmod 600 {tmp_path / 'keys/online.pem'}" in str(caught.value)


def test_a_wrong_key_is_refused_without_showing_it(tmp_path: Path) -> None:
    ring = create_keys(tmp_path / "keys")
    create_keys(tmp_path / "others")
    other = (tmp_path / "others/online.pem").read_bytes()
    (tmp_path / "keys/online.pem").write_bytes(other)
    with pytest.raises(DeliveryError, match="does not belong"):
        ring.signer("online")

    (tmp_path / "keys/online.pem").write_bytes(other[:60])
    with pytest.raises(DeliveryError, match="cannot read the private key") as caught:
        ring.signer("online")
    assert other[30:50].decode() not in str(caught.value)


def test_missing_keys_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DeliveryError, match="no signing keys") as caught:
        load_keys(tmp_path / "keys")
    assert "edgewright init" in str(caught.value)

    create_keys(tmp_path / "keys")
    (tmp_path / "keys/root.pub").unlink()
    with pytest.raises(DeliveryError, match=r"root\.pub"):
        load_keys(tmp_path / "keys")
    (tmp_path / "keys/root.pub").write_text("nonsense")
    with pytest.raises(DeliveryError, match="cannot read the public key"):
        load_keys(tmp_path / "keys")
