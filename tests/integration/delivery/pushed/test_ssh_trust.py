"""Who is believed over SSH: host keys, the controller's own key, jump hosts. Real sshd, and ssh-keygen's files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from clients import require_client
from devices.ssh import SshDevice, make_key
from rigs.base import assignments, work
from rigs.ssh import SshRig, open_rig

BEFORE = ("Accepted publickey", "Starting session")


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SshRig]:
    require_client("sshd")
    with open_rig(tmp_path, {"proof": "installed"}, SshDevice.plain) as rig:
        rig.add("lane-1")
        yield rig


def reason(rig: SshRig, device: str = "lane-1") -> tuple[str, str]:
    twin = rig.run_session(device)
    return twin.reason, twin.message


def test_a_host_key_that_changed_lets_nothing_through(rig: SshRig) -> None:
    device = rig.devices["lane-1"]
    work(rig)
    rig.driver.assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
    expected = device.public_host_key
    device.host_key.unlink()
    make_key(device.host_key)
    device.restart()
    before = device.log().count("Accepted publickey")

    found, message = reason(rig)
    assert found == "HostKeyMismatch"
    assert "ssh.hostKey of lane-1 expects ssh-ed25519 SHA256:" in message
    assert "Somebody may be in between" in message
    assert device.log().count("Accepted publickey") == before
    assert device.runs() is None

    rig.declare("lane-1")
    assert device.public_host_key != expected
    work(rig)
    assert device.runs() == rig.release(1).release
    assert rig.run_session("lane-1").reason == ""


def test_host_keys_of_the_repository(rig: SshRig) -> None:
    device, nobody = rig.devices["lane-1"], {"hostKey": None}
    rig.declare("lane-1", own=nobody)
    found, message = reason(rig)
    assert found == "HostKeyUnknown"
    assert "no knownHosts has none for" in message

    rig.declare("lane-1", own=nobody, knownHosts="fleets/known_hosts")
    rig.files["fleets/known_hosts"] = b"# nobody yet\n"
    found, message = reason(rig)
    assert (found, "fleets/known_hosts has none" in message) == ("HostKeyUnknown", True)
    line = message.split("'")[1]
    assert line + "\n" == device.known_hosts

    rig.files["fleets/known_hosts"] = line.encode()
    assert reason(rig) == ("", "")
    rig.files["fleets/known_hosts"] += b"\n@revoked * " + device.public_host_key.encode()
    assert reason(rig)[0] == "HostKeyRevoked"


def test_a_host_key_of_another_type_is_no_way_around(rig: SshRig, tmp_path: Path) -> None:
    other = make_key(tmp_path / "other", "-t", "ecdsa")
    known = " ".join(other.with_suffix(".pub").read_text().split()[:2])
    rig.declare("lane-1", own={"hostKey": known})
    found, message = reason(rig)
    assert found == "HostKeyMismatch"
    assert "has no host key of a known type" in message

    device = rig.devices["lane-1"]
    rsa = make_key(tmp_path / "rsa", "-t", "rsa")
    device.options = {"HostKey": f'"{rsa}"'}
    device.restart()
    rig.declare("lane-1", own={"hostKey": " ".join(rsa.with_suffix(".pub").read_text().split()[:2])})
    assert reason(rig) == ("", "")


def test_a_key_that_the_device_does_not_know(rig: SshRig, tmp_path: Path) -> None:
    stranger = make_key(tmp_path / "stranger")
    rig.declare("lane-1", own={"key": str(stranger)})
    found, message = reason(rig)
    assert found == "AuthenticationFailed"
    assert f"add {stranger}.pub to" in message

    rig.declare("lane-1", own={"user": "nobody-of-this-name"})
    assert reason(rig)[0] == "AuthenticationFailed"


def test_keys_that_the_controller_cannot_use(rig: SshRig, tmp_path: Path) -> None:
    locked, open_, junk = (
        make_key(tmp_path / "locked", "-N", "a passphrase"),
        make_key(tmp_path / "open"),
        tmp_path / "junk",
    )
    open_.chmod(0o640)
    junk.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0IHdvcmRz\n-----END OPENSSH PRIVATE KEY-----\n")
    junk.chmod(0o600)
    expected = {
        str(locked): "has a passphrase, and nobody is there to type it",
        str(open_): f"can be read by others: chmod 600 {open_}",
        str(junk): "is no private key for SSH",
        "ssh/nowhere": "cannot be read: No such file or directory",
    }
    for key, words in expected.items():
        rig.declare("lane-1", own={"key": key})
        found, message = reason(rig)
        assert found == "KeyUnusable"
        assert words in message
        assert "c2VjcmV0" not in message
    assert not any(word in rig.devices["lane-1"].log() for word in BEFORE)


def test_a_new_key_of_the_controller_is_taken_up_without_a_restart(rig: SshRig) -> None:
    device = rig.devices["lane-1"]
    assert reason(rig) == ("", "")
    rig.client.unlink()
    make_key(rig.client)
    assert reason(rig)[0] == "AuthenticationFailed"
    device.authorized_keys.write_bytes(rig.client.with_suffix(".pub").read_bytes())
    assert reason(rig) == ("", "")


def test_no_agent_is_asked_and_none_is_forwarded(rig: SshRig, monkeypatch: pytest.MonkeyPatch) -> None:
    device = rig.devices["lane-1"]
    device.program("ls", 'echo "agent=$SSH_AUTH_SOCK" >$device/forwarded\nreal ls "$@"\n')
    monkeypatch.setenv("SSH_AUTH_SOCK", "/nowhere/agent")
    assert reason(rig) == ("", "")
    assert (device.folder / "forwarded").read_text() == "agent=\n"


def test_what_the_users_own_ssh_says_does_not_count(
    rig: SshRig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    (home / ".ssh").mkdir(parents=True)
    (home / ".ssh/config").write_text("Host *\n  ProxyCommand false\n  User nobody\n  Port 1\n")
    monkeypatch.setenv("HOME", str(home))
    assert reason(rig) == ("", "")


# ── jump hosts ────────────────────────────────────────────────────────────────────────────────────────────────


def test_devices_behind_a_jump_host(rig: SshRig, tmp_path: Path) -> None:
    device = rig.devices["lane-1"]
    gate = SshDevice("gate", tmp_path / "gate", rig.client.with_suffix(".pub"), options={"LogLevel": "DEBUG1"})
    gate.start()
    try:
        jump = f"{device.ssh['user']}@{gate.address}:{gate.port}"
        rig.files["known"] = b""
        rig.declare("lane-1", jump=jump, knownHosts="known")
        found, message = reason(rig)
        assert (found, message.split(" shows ")[0]) == (
            "HostKeyUnknown",
            jump.replace(gate.address, f"[{gate.address}]"),
        )

        rig.files["known"] = gate.known_hosts.encode()
        rig.driver.assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
        work(rig)
        assert device.runs() == rig.release(1).release
        assert "direct-tcpip" in gate.log()

        stranger = make_key(tmp_path / "stranger").with_suffix(".pub").read_text().split()[:2]
        rig.declare("lane-1", jump=jump, knownHosts="known", own={"hostKey": " ".join(stranger)})
        found, message = reason(rig)
        assert (found, "lane-1 expects" in message) == ("HostKeyMismatch", True)

        device.stop()
        rig.declare("lane-1", jump=jump, knownHosts="known")
        found, message = reason(rig)
        assert found == "Unreachable"
        assert f"[{gate.address}]:{gate.port} cannot reach" in message
    finally:
        gate.stop()
    found, message = reason(rig)
    assert (found, "cannot be reached: Connection refused" in message) == ("Unreachable", True)
