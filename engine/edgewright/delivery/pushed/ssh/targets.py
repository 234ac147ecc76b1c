"""Resolves a device's address, user, key and settings from specs and inventory. Pure; called by ``driver``."""

import re
import shlex
from dataclasses import dataclass
from datetime import timedelta

from edgewright.core.fleet.routes import Proof, Route
from edgewright_schemas.delivery import Restart, SshSettings
from edgewright_schemas.fleet import SshHost

PORT = 22
_HOST = re.compile(r"^[^\s:@\[\]-][^\s:@\[\]]*$|^[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%\w+)?$")
_JUMP = re.compile(
    r"^(?:(?P<user>[^@\s]+)@)?(?:\[(?P<v6>[0-9A-Fa-f:.%]+)\]|(?P<host>[^\s:@\[\]]+))(?::(?P<port>\d{1,5}))?$"
)


@dataclass(frozen=True, slots=True)
class Hop:
    """An SSH server."""

    host: str
    port: int
    user: str

    @property
    def known_as(self) -> str:
        """Its name in a file of host keys."""
        return self.host if self.port == PORT else f"[{self.host}]:{self.port}"

    def __str__(self) -> str:
        return f"{self.user}@{self.known_as}"


@dataclass(frozen=True, slots=True)
class SshTarget:
    """One device."""

    device: str
    fleet: str
    hop: Hop
    jump: Hop | None
    """The host to connect through."""
    key: str | None
    """File of the private key, as it is written."""
    host_key: str | None
    """The only one that is accepted, if the inventory gives it."""
    known_hosts: str | None
    """A file of the repository."""
    root: str
    installer: tuple[str, ...]
    """The command's words."""
    proof: Proof
    restart: Restart | None
    connect_timeout: float
    """Seconds."""
    timeout: float
    """Seconds for everything after that."""


def ssh_settings(route: Route) -> SshSettings:
    """Return the fleet's settings, or the defaults."""
    return route.delivery.ssh or SshSettings()


def resolve_target(route: Route, default_user: str) -> SshTarget:
    """Resolve a device's target.

    Args:
        route: The route to it.
        default_user: Where neither inventory nor fleet name one; the controller's own.

    Raises:
        ValueError: Specs or inventory have a value that cannot be used.
    """
    fleet, own = ssh_settings(route), route.device.ssh or SshHost()
    user = own.user or fleet.user or default_user
    host = own.host or route.device.id
    if not _HOST.match(host):
        raise ValueError(f"ssh.host: {host!r} is no name or address of a host; user and port have fields of their own")
    hop = Hop(host, own.port or fleet.port, user)
    jump = own.jump or fleet.jump
    try:
        installer = tuple(shlex.split(route.delivery.installer))
    except ValueError as error:
        raise ValueError(f"installer: {route.delivery.installer!r} is no command: {error}") from error
    if not installer:
        raise ValueError("installer: there is no command")
    return SshTarget(
        device=route.device.id,
        fleet=route.fleet,
        hop=hop,
        jump=_jump(jump, user) if jump is not None else None,
        key=own.key or fleet.key,
        host_key=own.host_key,
        known_hosts=fleet.known_hosts,
        root=route.delivery.root,
        installer=installer,
        proof=route.proof,
        restart=fleet.restart,
        connect_timeout=_seconds(fleet.connect_timeout),
        timeout=_seconds(fleet.timeout),
    )


def _jump(text: str, user: str) -> Hop:
    found = _JUMP.match(text)
    port = int(found["port"] or PORT) if found else 0
    if found is None or not 0 < port < 1 << 16:
        raise ValueError(f"jump: {text!r} is no host; write it like gate@site-7.example.com:22")
    return Hop(found["v6"] or found["host"], port, found["user"] or user)


def _seconds(duration: timedelta) -> float:
    return max(duration.total_seconds(), 1.0)
