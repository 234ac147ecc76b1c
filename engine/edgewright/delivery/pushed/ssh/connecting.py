"""Connections to devices: Fabric's, with checked host keys, bounded in time. Called by ``visiting``.

Fabric and paramiko are imported here and in ``keyring``, so only a process that goes to devices imports this.
"""

import contextlib
import logging
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any

import paramiko
from fabric import Config, Connection
from paramiko.ssh_exception import IncompatiblePeer

from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.errors import Broken, NoWay, Stopped, Trouble
from edgewright.delivery.pushed.ssh.hostkeys import HostKey, Known, check, known_of, no_common_type
from edgewright.delivery.pushed.ssh.keyring import Keyring
from edgewright.delivery.pushed.ssh.scripts import command
from edgewright.delivery.pushed.ssh.targets import Hop, Target
from edgewright.errors import EdgewrightError

MOST_OUTPUT = 1024 * 1024
"""Bytes that a command may print."""
CHUNK = 32 * 1024
"""Bytes in one packet."""
UNREACHABLE = "Unreachable"
_QUIET_SECONDS = 1.0
"""After the end of a command, how long nothing more may come."""
_CURVES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_ALGORITHMS = (*_CURVES, "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa", "ssh-dss")
_LOG = "edgewright.paramiko"
"""paramiko logs tracebacks of what is told in a device's twin."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What came of a command."""

    status: int
    """Exit status; -1: it was killed."""
    text: str
    """What it printed, onto both streams."""


class Line:
    """An open connection to a device. What ``cutoff`` ends raises what it says."""

    def __init__(self, connection: Connection, plug: socket.socket, hop: Hop, cutoff: Deadline) -> None:
        self._connection = connection
        self._plug = plug
        self._hop = hop
        self._cutoff = cutoff

    def run(self, script: str, send: Iterable[bytes] = (), most: int = MOST_OUTPUT) -> CommandResult:
        """Run a script on the device.

        Args:
            script: For its ``sh``.
            send: Its input.
            most: How many bytes it may print.

        Raises:
            Broken: The connection ended.
            Trouble: It printed more.
            TimedOut, Stopped: As the cutoff says.
        """
        self._cutoff.check()
        said = bytearray()
        try:
            channel = self._connection.create_session()
            with contextlib.closing(channel):
                channel.set_combine_stderr(True)
                channel.exec_command(command(script))
                self._send(channel, send, said, most)
                self._read(channel, said, most)
                status: int = channel.recv_exit_status()
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._cutoff.check()
            raise Broken(f"{self._hop} ended the connection in the middle: {_words(error)}") from error
        self._cutoff.check()
        if status < 0 and not self._connection.is_connected:
            raise Broken(f"{self._hop} ended the connection in the middle")
        return CommandResult(status, said.decode("utf-8", "replace"))

    def close(self) -> None:
        """End it."""
        _end(self._plug, [self._connection, self._connection.gateway])

    def _send(self, channel: paramiko.Channel, send: Iterable[bytes], said: bytearray, most: int) -> None:
        for chunk in send:
            try:
                channel.sendall(chunk)
            except OSError:
                if not self._connection.is_connected:
                    raise
                return  # it takes no more; what it printed says why
            while channel.recv_ready():
                self._hear(said, channel.recv(CHUNK), most)
        channel.shutdown_write()

    def _read(self, channel: paramiko.Channel, said: bytearray, most: int) -> None:
        channel.settimeout(_QUIET_SECONDS)
        has_ended = False
        while True:
            try:
                data = channel.recv(CHUNK)
            except TimeoutError:
                if has_ended:
                    return  # something that it left behind holds the stream open
                has_ended = channel.exit_status_ready()
                continue
            if not data:
                return
            self._hear(said, data, most)

    def _hear(self, said: bytearray, data: bytes, most: int) -> None:
        said += data
        if len(said) > most:
            raise Trouble(
                "TooMuchOutput", f"{self._hop} printed more than {most:,} bytes; look at what it prints there"
            )


class Dialer:
    """Opens connections.

    Args:
        keyring: Where the controller's keys are.
        read_file: Reads a file of the repository.
    """

    def __init__(self, keyring: Keyring, read_file: Callable[[str], bytes]) -> None:
        logging.getLogger(_LOG).setLevel(logging.CRITICAL + 1)
        self._keyring = keyring
        self._read_file = read_file

    def open(self, place: Target, cutoff: Deadline) -> Line:
        """Connect to a device, through its jump host where it has one, and sign in.

        Raises:
            NoWay: It is away, is not who is meant, or does not let us in.
            Stopped: As the cutoff says.
        """
        key = self._keyring.load(place.key)
        known_hosts = self._known_hosts(place)
        hops = [place.hop] if place.jump is None else [place.jump, place.hop]
        cutoff.limit(
            place.connect_timeout,
            NoWay(UNREACHABLE, f"{place.hop} did not let us in within {place.connect_timeout:g} s (connectTimeout)"),
        )
        plug = _dial(hops[0], place.connect_timeout)
        cutoff.watch(plug)
        opened: list[Connection] = []
        try:
            for hop in hops:
                gateway = opened[-1] if opened else None
                known = known_of(place, hop, known_hosts)
                opened.append(self._sign_in(place, hop, known, key, plug, gateway))
        except BaseException as error:
            _end(plug, reversed(opened))
            if isinstance(error, Exception):
                cutoff.check()
            raise
        return Line(opened[-1], plug, place.hop, cutoff)

    def _known_hosts(self, place: Target) -> str:
        if place.known_hosts is None:
            return ""
        try:
            return self._read_file(place.known_hosts).decode("utf-8", "replace")
        except EdgewrightError as error:
            raise NoWay("HostKeyUnknown", f"{place.known_hosts} cannot be read: {error.message}") from error

    def _sign_in(
        self, place: Target, hop: Hop, known: Known, key: paramiko.PKey, plug: socket.socket, gateway: Connection | None
    ) -> Connection:
        options = {
            "pkey": key,
            "allow_agent": False,
            "look_for_keys": False,
            "compress": False,
            "timeout": place.connect_timeout,
            "banner_timeout": place.connect_timeout,
            "auth_timeout": place.connect_timeout,
            "channel_timeout": place.timeout,
            "transport_factory": _transport,
        }
        if known.algorithms:
            options["disabled_algorithms"] = {"keys": [n for n in _ALGORITHMS if n not in known.algorithms]}
        if gateway is None:
            options["sock"] = plug
        connection = Connection(
            hop.host,
            user=hop.user,
            port=hop.port,
            gateway=gateway,
            config=_config(),
            forward_agent=False,
            connect_kwargs=options,
        )
        connection.client.set_missing_host_key_policy(_Policy(known, hop))
        connection.client.set_log_channel(_LOG)
        try:
            connection.open()
        except BaseException as error:
            _close(connection)
            if isinstance(error, (NoWay, Stopped)):
                raise
            if isinstance(error, (paramiko.SSHException, EOFError, OSError)):
                raise self._refused(place, hop, known, error) from error
            raise
        return connection

    def _refused(self, place: Target, hop: Hop, known: Known, error: Exception) -> NoWay:
        match error:
            case IncompatiblePeer() if known.algorithms and "host key" in str(error):
                return no_common_type(known, hop)
            case paramiko.AuthenticationException():
                path = self._keyring.path(place.key)
                return NoWay(
                    "AuthenticationFailed",
                    f"{hop} does not accept the key {path}: add {path}.pub to ~{hop.user}/.ssh/authorized_keys there, "
                    "or correct user and key in the spec",
                )
            case paramiko.ChannelException():
                return NoWay(UNREACHABLE, f"{place.jump} cannot reach {hop}: {error.text}")
            case _:
                return NoWay(UNREACHABLE, f"{hop} answers, and no SSH connection comes of it: {_words(error)}")


class _Policy(paramiko.MissingHostKeyPolicy):
    """Decides on every host key, because paramiko itself is told of none."""

    def __init__(self, known: Known, hop: Hop) -> None:
        self._known = known
        self._hop = hop

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Let it pass, or raise NoWay."""
        check(self._known, self._hop, HostKey(key.get_name(), key.asbytes()))


def _transport(plug: socket.socket | paramiko.Channel, **options: Any) -> paramiko.Transport:
    """Prefer, of what a server offers, what costs both sides least: ciphers that need no MAC beside."""
    if isinstance(plug, paramiko.Channel):
        # Through a jump host, closing says good-bye on a way that may be gone; the transport's thread would die of it.
        plug.close = partial(_close_quietly, plug.close)  # type: ignore[method-assign]  # of this one alone
    transport = paramiko.Transport(plug, **options)
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda name: "gcm" not in name)
    return transport


def _dial(hop: Hop, seconds: float) -> socket.socket:
    try:
        plug = socket.create_connection((hop.host, hop.port), seconds)
    except socket.gaierror as error:
        raise NoWay(UNREACHABLE, f"{hop}: there is no host of this name: {error.strerror}") from error
    except TimeoutError as error:
        raise NoWay(UNREACHABLE, f"{hop} did not answer within {seconds:g} s (connectTimeout)") from error
    except (OSError, UnicodeError) as error:
        raise NoWay(UNREACHABLE, f"{hop} cannot be reached: {_words(error)}") from error
    # Commands and answers are small; none shall wait for an acknowledgement of the one before.
    plug.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return plug


def _end(plug: socket.socket, connections: Iterable[Connection | None]) -> None:
    """End connections, innermost first, and the socket that carries them."""
    # Else a transport's thread notices only when it next looks.
    with contextlib.suppress(OSError):
        plug.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        if connection is not None:
            _close(connection)
    plug.close()


def _close(connection: Connection) -> None:
    _close_quietly(connection.client.close)


def _close_quietly(close: Callable[[], None]) -> None:
    with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
        close()


def _config() -> Config:
    """Fabric's defaults: no file of the user's or the machine's says where connections go.

    One for each connection: Fabric's are not made for several threads.
    """
    return Config(lazy=True, ssh_config=paramiko.SSHConfig())


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
