"""Connections to devices: Fabric's, with checked host keys, bounded in time. Called by ``session``.

Fabric and paramiko are imported here and in ``keyring`` alone, so that only processes that connect import them.
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
from edgewright.delivery.pushed.ssh.errors import ConnectionFailed, DeviceError, Disconnected, Stopped
from edgewright.delivery.pushed.ssh.hostkeys import (
    HostKey,
    KnownHostKeys,
    check_host_key,
    known_host_keys,
    no_common_key_type,
)
from edgewright.delivery.pushed.ssh.keyring import Keyring
from edgewright.delivery.pushed.ssh.scripts import command
from edgewright.delivery.pushed.ssh.targets import Hop, SshTarget
from edgewright.errors import EdgewrightError

MAX_OUTPUT = 1024 * 1024
"""Bytes that a command may print."""
CHUNK = 32 * 1024
"""Bytes in one packet."""
UNREACHABLE = "Unreachable"
_QUIET_SECONDS = 1.0
"""After the end of a command, its output ends with a pause of this length."""
_CURVES = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521")
_ALGORITHMS = (*_CURVES, "rsa-sha2-512", "rsa-sha2-256", "ssh-rsa", "ssh-dss")
_LOG = "edgewright.paramiko"
"""Silenced: paramiko logs tracebacks of errors that a device's twin records."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Result of a command."""

    status: int
    """Exit status; -1: it was killed."""
    output: str
    """Of both streams."""


class SshConnection:
    """An open connection to a device. Calls that ``deadline`` ends raise its error."""

    def __init__(self, connection: Connection, sock: socket.socket, hop: Hop, deadline: Deadline) -> None:
        self._connection = connection
        self._sock = sock
        self._hop = hop
        self._deadline = deadline

    def run(self, script: str, send: Iterable[bytes] = (), max_output: int = MAX_OUTPUT) -> CommandResult:
        """Run a script on the device.

        Args:
            script: For its ``sh``.
            send: Its input.
            max_output: How many bytes it may print.

        Raises:
            Disconnected: The connection ended.
            DeviceError: It printed more.
            TimedOut, Stopped: As the deadline says.
        """
        self._deadline.check()
        output = bytearray()
        try:
            channel = self._connection.create_session()
            with contextlib.closing(channel):
                channel.set_combine_stderr(True)
                channel.exec_command(command(script))
                self._send(channel, send, output, max_output)
                self._read(channel, output, max_output)
                status: int = channel.recv_exit_status()
        except (paramiko.SSHException, EOFError, OSError) as error:
            self._deadline.check()
            raise Disconnected(f"{self._hop} ended the connection in the middle: {_words(error)}") from error
        self._deadline.check()
        if status < 0 and not self._connection.is_connected:
            raise Disconnected(f"{self._hop} ended the connection in the middle")
        return CommandResult(status, output.decode("utf-8", "replace"))

    def close(self) -> None:
        """Close the connection."""
        _close_all(self._sock, [self._connection, self._connection.gateway])

    def _send(self, channel: paramiko.Channel, send: Iterable[bytes], output: bytearray, max_output: int) -> None:
        for chunk in send:
            try:
                channel.sendall(chunk)
            except OSError:
                if not self._connection.is_connected:
                    raise
                return  # it takes no more; what it printed says why
            while channel.recv_ready():
                self._append(output, channel.recv(CHUNK), max_output)
        channel.shutdown_write()

    def _read(self, channel: paramiko.Channel, output: bytearray, max_output: int) -> None:
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
            self._append(output, data, max_output)

    def _append(self, output: bytearray, data: bytes, max_output: int) -> None:
        output += data
        if len(output) > max_output:
            raise DeviceError(
                "TooMuchOutput", f"{self._hop} printed more than {max_output:,} bytes; look at what it prints there"
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

    def open(self, target: SshTarget, deadline: Deadline) -> SshConnection:
        """Connect to a device, through its jump host where it has one, and authenticate.

        Raises:
            ConnectionFailed: It is unreachable, shows another host key, or refuses the key.
            Stopped: As the deadline says.
        """
        key = self._keyring.load(target.key)
        known_hosts = self._known_hosts(target)
        hops = [target.hop] if target.jump is None else [target.jump, target.hop]
        deadline.limit(
            target.connect_timeout,
            ConnectionFailed(
                UNREACHABLE,
                f"connecting to {target.hop} took longer than {target.connect_timeout:g} s (connectTimeout)",
            ),
        )
        sock = _dial(hops[0], target.connect_timeout)
        deadline.watch(sock)
        opened: list[Connection] = []
        try:
            for hop in hops:
                gateway = opened[-1] if opened else None
                known = known_host_keys(target, hop, known_hosts)
                opened.append(self._sign_in(target, hop, known, key, sock, gateway))
        except BaseException as error:
            _close_all(sock, reversed(opened))
            if isinstance(error, Exception):
                deadline.check()
            raise
        return SshConnection(opened[-1], sock, target.hop, deadline)

    def _known_hosts(self, target: SshTarget) -> str:
        if target.known_hosts is None:
            return ""
        try:
            return self._read_file(target.known_hosts).decode("utf-8", "replace")
        except EdgewrightError as error:
            raise ConnectionFailed("HostKeyUnknown", f"{target.known_hosts} cannot be read: {error.message}") from error

    def _sign_in(
        self,
        target: SshTarget,
        hop: Hop,
        known: KnownHostKeys,
        key: paramiko.PKey,
        sock: socket.socket,
        gateway: Connection | None,
    ) -> Connection:
        options = {
            "pkey": key,
            "allow_agent": False,
            "look_for_keys": False,
            "compress": False,
            "timeout": target.connect_timeout,
            "banner_timeout": target.connect_timeout,
            "auth_timeout": target.connect_timeout,
            "channel_timeout": target.timeout,
            "transport_factory": _transport,
        }
        if known.algorithms:
            options["disabled_algorithms"] = {"keys": [n for n in _ALGORITHMS if n not in known.algorithms]}
        if gateway is None:
            options["sock"] = sock
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
            if isinstance(error, (ConnectionFailed, Stopped)):
                raise
            if isinstance(error, (paramiko.SSHException, EOFError, OSError)):
                raise self._refused(target, hop, known, error) from error
            raise
        return connection

    def _refused(self, target: SshTarget, hop: Hop, known: KnownHostKeys, error: Exception) -> ConnectionFailed:
        match error:
            case IncompatiblePeer() if known.algorithms and "host key" in str(error):
                return no_common_key_type(known, hop)
            case paramiko.AuthenticationException():
                path = self._keyring.path(target.key)
                return ConnectionFailed(
                    "AuthenticationFailed",
                    f"{hop} does not accept the key {path}: add {path}.pub to ~{hop.user}/.ssh/authorized_keys there, "
                    "or correct user and key in the spec",
                )
            case paramiko.ChannelException():
                return ConnectionFailed(UNREACHABLE, f"{target.jump} cannot reach {hop}: {error.text}")
            case _:
                return ConnectionFailed(UNREACHABLE, f"{hop} answers, but the SSH connection failed: {_words(error)}")


class _Policy(paramiko.MissingHostKeyPolicy):
    """Checks every host key; paramiko itself knows none."""

    def __init__(self, known: KnownHostKeys, hop: Hop) -> None:
        self._known = known
        self._hop = hop

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        """Accept the key, or raise ConnectionFailed."""
        check_host_key(self._known, self._hop, HostKey(key.get_name(), key.asbytes()))


def _transport(sock: socket.socket | paramiko.Channel, **options: Any) -> paramiko.Transport:
    """Open a transport that prefers ciphers without a separate MAC, which cost both sides least."""
    if isinstance(sock, paramiko.Channel):
        # Through a jump host, closing says good-bye on a way that may be gone; the transport's thread would die of it.
        sock.close = partial(_close_quietly, sock.close)  # type: ignore[method-assign]  # of this one alone
    transport = paramiko.Transport(sock, **options)
    security = transport.get_security_options()
    security.ciphers = sorted(security.ciphers, key=lambda name: "gcm" not in name)
    return transport


def _dial(hop: Hop, seconds: float) -> socket.socket:
    try:
        sock = socket.create_connection((hop.host, hop.port), seconds)
    except socket.gaierror as error:
        raise ConnectionFailed(UNREACHABLE, f"{hop}: there is no host of this name: {error.strerror}") from error
    except TimeoutError as error:
        raise ConnectionFailed(UNREACHABLE, f"{hop} did not answer within {seconds:g} s (connectTimeout)") from error
    except (OSError, UnicodeError) as error:
        raise ConnectionFailed(UNREACHABLE, f"{hop} cannot be reached: {_words(error)}") from error
    # Commands and answers are small; none shall wait for an acknowledgement of the one before.
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock


def _close_all(sock: socket.socket, connections: Iterable[Connection | None]) -> None:
    """Close connections, innermost first, and the socket that carries them."""
    # Else a transport's thread notices only when it next looks.
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    for connection in connections:
        if connection is not None:
            _close(connection)
    sock.close()


def _close(connection: Connection) -> None:
    _close_quietly(connection.client.close)


def _close_quietly(close: Callable[[], None]) -> None:
    with contextlib.suppress(EOFError, OSError, paramiko.SSHException):
        close()


def _config() -> Config:
    """Return Fabric's defaults: no file of the user or the machine redirects connections.

    One for each connection: Fabric's are not made for several threads.
    """
    return Config(lazy=True, ssh_config=paramiko.SSHConfig())


def _words(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
