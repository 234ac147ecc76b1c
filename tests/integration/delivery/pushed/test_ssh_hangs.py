"""Devices that hang, stall or flood cost their place for a bounded time only, wherever they do it."""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from clients import require_client
from devices.ssh import SshDevice
from edgewright.core.fleet.twins import Stage, Twin
from rigs.base import Behaviour, assignments, work
from rigs.ssh import SshRig, open_rig

LIMIT = 2.0
"""Seconds a device may take here; the controller has to be through with it soon after."""
GRACE = 6.0
"""What a busy machine may take on top."""

Talk = Callable[[socket.socket], None]


def say_nothing(connection: socket.socket) -> None:
    while connection.recv(1024):
        pass


def say_much_before_the_banner(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"welcome to lane 1\r\n" * 10)
        time.sleep(0.05)


def say_a_byte_now_and_then(connection: socket.socket) -> None:
    for byte in b"SSH-2.0-OpenSSH_9.2p1" * 1000:
        connection.sendall(bytes([byte]))
        time.sleep(0.2)


def stop_after_the_banner(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    say_nothing(connection)


def flood_after_the_banner(connection: socket.socket) -> None:
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    while True:
        connection.sendall(os.urandom(65536))


def hang_up(connection: socket.socket) -> None:
    connection.recv(1)


@contextmanager
def server(talk: Talk) -> Iterator[int]:
    """Listen on loopback, and talk to whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        opened: list[socket.socket] = []

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    opened.append(connection)
                    threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                talk(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for connection in opened:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join(10)


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[SshRig]:
    require_client("sshd")
    with open_rig(tmp_path, {"proof": "installed"}, SshDevice.plain) as rig:
        rig.add("lane-1")
        yield rig


def run_session(rig: SshRig) -> tuple[Twin, float]:
    started = time.monotonic()
    twin = rig.run_session("lane-1")
    return twin, time.monotonic() - started


@pytest.mark.parametrize(
    "talk",
    [
        say_nothing,
        say_much_before_the_banner,
        say_a_byte_now_and_then,
        stop_after_the_banner,
        flood_after_the_banner,
        hang_up,
    ],
)
def test_a_server_that_does_not_let_us_in(rig: SshRig, talk: Talk) -> None:
    with server(talk) as port:
        rig.declare("lane-1", own={"host": "127.0.0.1", "port": port}, connectTimeout=f"{LIMIT:.0f}s")
        twin, took = run_session(rig)
    assert twin.reason == "Unreachable"
    assert took < LIMIT + GRACE


def test_nobody_there(rig: SshRig) -> None:
    rig.devices["lane-1"].stop()
    twin, _ = run_session(rig)
    assert (twin.reason, "Connection refused" in twin.message) == ("Unreachable", True)
    rig.declare("lane-1", own={"host": "no-such-host.invalid"})
    twin, _ = run_session(rig)
    assert (twin.reason, "there is no host of this name" in twin.message) == ("Unreachable", True)


def freeze(device: SshDevice) -> str:
    """A program that stops the whole session, as a device does whose kernel hangs."""
    return (
        f'session=$(real ps -o ppid= -p $PPID)\necho $session >>"{device.folder}/stopped"\nreal kill -STOP $session\n'
    )


@contextmanager
def thawing(device: SshDevice) -> Iterator[None]:
    try:
        yield
    finally:
        stopped = device.folder / "stopped"
        for pid in stopped.read_text().split() if stopped.exists() else []:
            with suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


HANGS = {
    "sleeps while it is looked at": ("ls", "exec sleep 60\n", "TimedOut"),
    "floods while it is looked at": ("ls", "exec yes the disk is fine\n", "TooMuchOutput"),
    "sleeps while it takes files": ("tar", "exec sleep 60\n", "TimedOut"),
    "floods while it takes files": ("tar", "exec yes is that all\n", "TooMuchOutput"),
    "complains without an end": ("tar", "exec yes the disk is full >&2\n", "TooMuchOutput"),
}
"""A program that misbehaves, how, and the reason."""


@pytest.mark.parametrize("how", HANGS)
def test_a_device_that_hangs_is_given_up_in_time_and_is_well_again_afterwards(rig: SshRig, how: str) -> None:
    device = rig.devices["lane-1"]
    name, script, reason = HANGS[how]
    rig.driver.assign(assignments(1, ["lane-1"], rig.release(1)), rig.configs())
    device.program(name, script)
    rig.declare("lane-1", timeout=f"{LIMIT:.0f}s")

    twin, took = run_session(rig)
    assert took < LIMIT + GRACE
    assert twin.reason == reason
    assert twin.last_seen is not None
    assert twin.job is not None, "it is tried again"

    (device.bin / name).unlink()
    rig.declare("lane-1")
    work(rig)
    assert device.runs() == rig.release(1).release
    assert rig.run_session("lane-1").reason == ""


def test_a_device_that_freezes_is_given_up_in_time(rig: SshRig) -> None:
    device = rig.devices["lane-1"]
    device.program("ls", freeze(device))
    rig.declare("lane-1", timeout=f"{LIMIT:.0f}s")
    with thawing(device):
        twin, took = run_session(rig)
    assert (twin.reason, took < LIMIT + GRACE) == ("TimedOut", True)


def test_a_device_that_hangs_up_says_so(rig: SshRig) -> None:
    device = rig.devices["lane-1"]
    device.program("ls", "real kill -9 $(real ps -o ppid= -p $PPID)\n")
    twin, _ = run_session(rig)
    assert twin.reason == "Disconnected"


def test_what_goes_on_after_its_exit_holds_nobody_up(rig: SshRig) -> None:
    """A program left behind keeps the stream open, as a daemon started without care does."""
    device = rig.devices["lane-1"]
    device.program("ls", 'real sleep 20 &\nreal ls "$@"\n')
    twin, took = run_session(rig)
    assert twin.reason == ""
    assert took < 15


def test_an_installation_that_hangs_again_and_again_has_failed(rig: SshRig) -> None:
    device = rig.devices["lane-1"]
    before, after = rig.release(1), rig.release(2)
    rig.driver.assign(assignments(1, ["lane-1"], before), rig.configs())
    work(rig)
    device.program("ln", 'case "$*" in "-s slots/"*) exec sleep 60;; esac\nreal ln "$@"\n')
    rig.declare("lane-1", timeout=f"{LIMIT:.0f}s")
    rig.driver.assign(assignments(2, ["lane-1"], after), rig.configs())
    for number in range(3):
        twin, took = run_session(rig)
        assert (twin.reason, took < LIMIT + GRACE) == ("TimedOut", True)
        if number < 2:
            assert twin.job is not None
            assert twin.job.stage is Stage.INSTALLING
    failed = rig.grounds.twins.twin("lane-1")
    assert failed is not None
    known = failed.model("reader").failed
    assert known is not None
    assert (known.reason, known.target) == ("TimedOut", after)

    (device.bin / "ln").unlink()
    rig.declare("lane-1")
    work(rig)
    assert device.runs() == before.release
    assert rig.run_session("lane-1").model("reader").installed == before


def test_a_stalled_device_holds_up_no_other(rig: SshRig) -> None:
    rig.add("lane-2")
    rig.behave("lane-1", Behaviour.STALLS)
    rig.driver.assign(assignments(1, ["lane-1", "lane-2"], rig.release(1)), rig.configs())
    with rig.driver.attend(lambda: None):
        until = time.monotonic() + 60
        while rig.devices["lane-2"].runs() is None:
            assert time.monotonic() < until
            time.sleep(0.05)
    assert rig.devices["lane-1"].runs() is None
    rig.behave("lane-1", Behaviour.HONEST)
