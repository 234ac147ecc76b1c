"""Whether the server that answers is the one that is meant; ssh-keygen says what is right."""

import subprocess
from pathlib import Path

import pytest

from clients import require_client
from edgewright.core.fleet.routes import Route
from edgewright.delivery.pushed.ssh.errors import ConnectionFailed
from edgewright.delivery.pushed.ssh.hostkeys import HostKey, check_host_key, known_host_keys, parse_key
from edgewright.delivery.pushed.ssh.targets import Hop, SshTarget, resolve_target
from edgewright_schemas.delivery import Delivery
from edgewright_schemas.fleet import Device

HOST, PORT = "lane-1.example", 2222


def target(host_key: str | None = None, known_hosts: str | None = "fleets/known_hosts", port: int = PORT) -> SshTarget:
    delivery = Delivery.model_validate({"type": "ssh", "ssh": {"knownHosts": known_hosts, "port": port}})
    own = {"host": HOST, "jump": "gate@gate.example", **({"hostKey": host_key} if host_key else {})}
    return resolve_target(Route("stores", delivery, Device.model_validate({"id": "lane-1", "ssh": own})), "ops")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> list[HostKey]:
    require_client("ssh-keygen")
    folder = tmp_path_factory.mktemp("keys")
    found = []
    for name, kind in (("one", "ed25519"), ("two", "ed25519"), ("three", "ecdsa"), ("four", "rsa")):
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", folder / name], check=True)
        key = parse_key((folder / f"{name}.pub").read_text())
        assert key is not None
        shown = subprocess.run(["ssh-keygen", "-lf", folder / name], check=True, capture_output=True, text=True).stdout
        assert shown.split()[1] == key.fingerprint
        found.append(key)
    return found


def test_an_inventory_takes_the_keys_that_hosts_have(keys: list[HostKey]) -> None:
    for key in keys:
        assert verdict(target(str(key)), "", key) == ""
        assert verdict(target(f"{key} root@lane 1"), "", key) == ""


def verdict(at: SshTarget, file: str, presented: HostKey, hop: Hop | None = None) -> str:
    """Reason, or nothing where it passes."""
    hop = hop or at.hop
    try:
        check_host_key(known_host_keys(at, hop, file), hop, presented)
    except ConnectionFailed as error:
        assert presented.fingerprint in error.message
        return error.reason
    return ""


@pytest.mark.parametrize(
    "names",
    [
        "[lane-1.example]:2222",
        "other.example,[LANE-1.example]:2222",
        "[*.example]:2222",
        "[lane-?.example]:*",
    ],
)
def test_names_and_patterns_of_a_file(keys: list[HostKey], names: str) -> None:
    one, two, *_ = keys
    assert verdict(target(), f"# a comment\n\nbroken line\n{names} {one} a comment\n", one) == ""
    assert verdict(target(), f"{names} {one}\n", two) == "HostKeyMismatch"
    assert verdict(target(), f"{names} {two}\n{names} {one}\n", one) == "", "a host may have several keys"


@pytest.mark.parametrize(
    "names",
    ["lane-1.example", "[lane-1.example]:22", "[lane-1-example]:2222", "[*.example]:2222,![lane-1.example]:2222"],
)
def test_names_that_are_somebody_elses(keys: list[HostKey], names: str) -> None:
    assert verdict(target(), f"{names} {keys[0]}\n", keys[0]) == "HostKeyUnknown"


def test_hashed_names(keys: list[HostKey], tmp_path: Path) -> None:
    file = tmp_path / "known_hosts"
    file.write_text(f"[{HOST}]:{PORT} {keys[0]}\ngate.example {keys[1]}\n")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", file], check=True, capture_output=True)
    text, at = file.read_text(), target()
    assert HOST not in text
    assert at.jump is not None
    assert verdict(at, text, keys[0]) == ""
    assert verdict(at, text, keys[1]) == "HostKeyMismatch"
    assert verdict(at, text, keys[1], at.jump) == "", "a jump host is checked like a device"
    assert verdict(at, text, keys[0], at.jump) == "HostKeyMismatch"


def test_revoked_keys_count_more_than_accepted_ones(keys: list[HostKey]) -> None:
    names = f"[{HOST}]:{PORT}"
    assert verdict(target(), f"{names} {keys[0]}\n@revoked * {keys[0]}\n", keys[0]) == "HostKeyRevoked"
    assert verdict(target(), f"@cert-authority {names} {keys[0]}\n", keys[0]) == "HostKeyUnknown"


def test_a_key_in_the_inventory_is_the_only_one(keys: list[HostKey]) -> None:
    file = f"[{HOST}]:{PORT} {keys[1]}\n"
    assert verdict(target(str(keys[0])), file, keys[0]) == ""
    assert verdict(target(str(keys[0])), file, keys[1]) == "HostKeyMismatch"
    assert verdict(target(), file, keys[1]) == ""


def test_what_is_said_of_an_unknown_key_is_what_has_to_be_written(keys: list[HostKey]) -> None:
    at = target()
    with pytest.raises(ConnectionFailed) as caught:
        check_host_key(known_host_keys(at, at.hop, ""), at.hop, keys[0])
    line = caught.value.message.split("'")[1]
    assert verdict(at, line + "\n", keys[0]) == ""


def test_rsa_keys_identify_by_their_newer_signatures(keys: list[HostKey]) -> None:
    at = target()
    file = f"[{HOST}]:{PORT} {keys[3]}\n[{HOST}]:{PORT} {keys[2]}\n"
    assert known_host_keys(at, at.hop, file).algorithms == {"rsa-sha2-512", "rsa-sha2-256", "ecdsa-sha2-nistp256"}


def test_names_of_hosts_with_the_usual_port_have_none(keys: list[HostKey]) -> None:
    at = target(port=22)
    assert verdict(at, f"{HOST} {keys[0]}\n", keys[0]) == ""
    assert verdict(at, f"[{HOST}]:22 {keys[0]}\n", keys[0]) == "HostKeyUnknown"
