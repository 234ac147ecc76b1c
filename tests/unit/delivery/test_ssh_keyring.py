"""The controller's private keys: every form that tools write, and true words for what is none."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from edgewright.delivery.pushed.ssh.errors import ConnectionFailed
from edgewright.delivery.pushed.ssh.keyring import Keyring

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
KEYS: dict[str, Key] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate(),
    "p256": ec.generate_private_key(ec.SECP256R1()),
    "p384": ec.generate_private_key(ec.SECP384R1()),
    "p521": ec.generate_private_key(ec.SECP521R1()),
    "rsa": rsa.generate_private_key(65537, 2048),
}
FORMS = {
    "PKCS #8": PrivateFormat.PKCS8,
    "OpenSSH": PrivateFormat.OpenSSH,
    "traditional": PrivateFormat.TraditionalOpenSSL,
}


def write(folder: Path, data: bytes) -> Path:
    path = folder / "key"
    path.write_bytes(data)
    path.chmod(0o600)
    return path


def failure(folder: Path, data: bytes) -> str:
    write(folder, data)
    with pytest.raises(ConnectionFailed) as caught:
        Keyring(folder).load("key")
    return str(caught.value)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", KEYS)
def test_keys_of_every_form_are_read_and_are_the_same_key(tmp_path: Path, kind: str, form: str) -> None:
    if (kind, form) == ("ed25519", "traditional"):
        pytest.skip("there is no such form")
    key = KEYS[kind]
    write(tmp_path, key.private_bytes(Encoding.PEM, FORMS[form], NoEncryption()))
    loaded = Keyring(tmp_path).load("key")
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    assert f"{loaded.get_name()} {loaded.get_base64()}" == public
    signature = loaded.sign_ssh_data(b"data", "rsa-sha2-256" if kind == "rsa" else None)
    signature.rewind()
    kind_of: Any = type(loaded)  # paramiko's stubs know a key's bytes as text
    assert kind_of(data=loaded.asbytes()).verify_ssh_sig(b"data", signature)


@pytest.mark.parametrize("kind", ["ecdsa", "ed25519"])
def test_keys_of_ssh_keygen_without_a_comment_are_read(tmp_path: Path, kind: str) -> None:
    for number in range(6):
        path = tmp_path / f"key-{number}"
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "", "-f", str(path)], check=True)
        loaded = Keyring(tmp_path).load(path.name)
        assert path.with_suffix(".pub").read_text().split()[:2] == [loaded.get_name(), loaded.get_base64()]


def test_what_is_no_key_for_ssh_is_named_for_what_it_is(tmp_path: Path) -> None:
    plain, pem = NoEncryption(), Encoding.PEM
    public = KEYS["ed25519"].public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    assert "is a public key" in failure(tmp_path, public)
    assert "puttygen" in failure(tmp_path, b"PuTTY-User-Key-File-3: ssh-ed25519\n")
    assert "no private key for SSH" in failure(tmp_path, b"hello")
    assert "does not use (Ed448)" in failure(
        tmp_path, ed448.Ed448PrivateKey.generate().private_bytes(pem, PrivateFormat.PKCS8, plain)
    )
    old = dsa.generate_private_key(1024).private_bytes(pem, PrivateFormat.PKCS8, plain)
    assert "does not use (DSA)" in failure(tmp_path, old)
    curve = ec.generate_private_key(ec.SECP256K1()).private_bytes(pem, PrivateFormat.PKCS8, plain)
    assert "does not use" in failure(tmp_path, curve)
    for form in FORMS.values():
        locked = KEYS["p256"].private_bytes(pem, form, BestAvailableEncryption(b"secret"))
        assert "has a passphrase" in failure(tmp_path, locked)
        cut = KEYS["p256"].private_bytes(pem, form, plain)
        assert "is damaged" in failure(tmp_path, cut[: len(cut) // 2])
