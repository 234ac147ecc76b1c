"""Keys of the device APIs on disk, and what ``edgewright init`` makes of them."""

import stat
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from edgewright import durable
from edgewright.delivery.identity.credentials import (
    create_credentials,
    load_bundle_keys,
    load_devices_ca,
    load_token_key,
)
from edgewright.errors import DeliveryError, DeliveryUnavailable
from harness.command_line import edgewright_as

NOW = datetime(2026, 3, 1, tzinfo=UTC)
FILES = ("bundles.pem", "bundles.crt", "devices-ca.pem", "devices-ca.crt", "mender-jwt.pem")


def test_all_are_made_once_and_found_again(tmp_path: Path) -> None:
    assert create_credentials(tmp_path / "keys", NOW) == FILES
    before = {name: (tmp_path / "keys" / name).read_bytes() for name in FILES}

    assert create_credentials(tmp_path / "keys", NOW) == ()

    assert {name: (tmp_path / "keys" / name).read_bytes() for name in FILES} == before
    bundles, authority = load_bundle_keys(tmp_path / "keys"), load_devices_ca(tmp_path / "keys")
    assert bundles.key.key_size == 3072
    purposes = bundles.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert set(purposes) == {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.CODE_SIGNING}
    assert authority.key.curve.name == "secp256r1"
    assert authority.certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert load_token_key(tmp_path / "keys").key.sign(b"")


def test_private_keys_are_their_owners_alone_at_every_instant(tmp_path: Path) -> None:
    seen: dict[str, set[int]] = {}

    def watch(operation: str, path: Path) -> None:
        if operation in {"write", "sync"}:
            seen.setdefault(path.name.split(".")[1] + path.name.split(".")[2], set()).add(
                stat.S_IMODE(path.stat().st_mode)
            )

    with durable.watched(watch):
        create_credentials(tmp_path / "keys", NOW)

    assert {name: modes for name, modes in seen.items() if name.endswith("pem")} == {
        "bundlespem": {0o600},
        "devices-capem": {0o600},
        "mender-jwtpem": {0o600},
    }
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["bundles", "devices-ca"])
def test_a_lost_certificate_is_made_again_of_its_key(tmp_path: Path, name: str) -> None:
    create_credentials(tmp_path, NOW)
    key = (tmp_path / f"{name}.pem").read_bytes()
    (tmp_path / f"{name}.crt").unlink()

    assert create_credentials(tmp_path, NOW) == (f"{name}.crt",)

    assert (tmp_path / f"{name}.pem").read_bytes() == key
    load_bundle_keys(tmp_path)
    load_devices_ca(tmp_path)


def test_a_key_that_was_taken_elsewhere_is_not_made_anew(tmp_path: Path) -> None:
    create_credentials(tmp_path, NOW)
    (tmp_path / "bundles.pem").unlink()

    assert create_credentials(tmp_path, NOW) == ()
    with pytest.raises(DeliveryError, match="the key that signs bundles is not here") as caught:
        load_bundle_keys(tmp_path)
    assert "--keys-only" in caught.value.hint


def test_what_cannot_be_used_is_explained_without_showing_it(tmp_path: Path) -> None:
    create_credentials(tmp_path, NOW)
    key = tmp_path / "devices-ca.pem"
    key.chmod(0o640)
    with pytest.raises(DeliveryError, match="may be read by others") as caught:
        load_devices_ca(tmp_path)
    assert f"chmod 600 {key}" in caught.value.hint

    key.chmod(0o600)
    secret = key.read_bytes()
    key.write_bytes(secret[:80])
    with pytest.raises(DeliveryError, match="cannot read the private key") as caught:
        load_devices_ca(tmp_path)
    assert secret[40:70].decode() not in str(caught.value)

    key.write_bytes((tmp_path / "mender-jwt.pem").read_bytes())
    with pytest.raises(DeliveryError, match="is not an ECDSA key"):
        load_devices_ca(tmp_path)

    create_credentials(tmp_path / "other", NOW)
    key.write_bytes((tmp_path / "other/devices-ca.pem").read_bytes())
    with pytest.raises(DeliveryError, match="does not belong to"):
        load_devices_ca(tmp_path)
    (tmp_path / "devices-ca.crt").write_text("nonsense")
    with pytest.raises(DeliveryError, match="cannot read the certificate"):
        load_devices_ca(tmp_path)


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DeliveryUnavailable, match="cannot write keys"):
        create_credentials(tmp_path / "file" / "keys", NOW)


@pytest.mark.parametrize("purpose", ["smimesign", "codesign"])
def test_openssl_takes_the_bundles_certificate_for_signing(tmp_path: Path, purpose: str) -> None:
    """As SWUpdate and RAUC check it: the certificate itself is the anchor."""
    create_credentials(tmp_path)
    certificate = str(tmp_path / "bundles.crt")
    version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout.split()[1]
    if purpose == "codesign" and version < "3.2":
        purpose = "any"  # openssl knows the purpose since 3.2

    done = subprocess.run(
        ["openssl", "verify", "-CAfile", certificate, "-purpose", purpose, certificate],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout.strip().endswith("OK"), done.stderr


def test_init_makes_what_is_lacking_and_touches_nothing_else(tmp_path: Path) -> None:
    edgewright_as(["edgewright", "init", str(tmp_path / "shop")]).expect(0, "made signing keys in")
    keys = tmp_path / "shop/.edgewright/keys"
    assert {path.name for path in keys.iterdir()} >= {*FILES, "root.pem", "online.pub"}
    for name in ("root.pem", "mender-jwt.pem"):  # one that is kept elsewhere, one that an older version did not make
        (keys / name).unlink()
    before = {path.name: path.read_bytes() for path in keys.iterdir()}

    edgewright_as(["edgewright", "init", str(tmp_path / "shop"), "--keys-only"]).expect(0, "made mender-jwt.pem in")
    edgewright_as(["edgewright", "init", str(tmp_path / "shop"), "--keys-only"]).expect(
        0, "all keys are there already in"
    )

    after = {path.name: path.read_bytes() for path in keys.iterdir()}
    assert after.keys() - before.keys() == {"mender-jwt.pem"}
    assert before.items() <= after.items()
