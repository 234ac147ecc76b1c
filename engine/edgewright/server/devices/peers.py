"""Peers of the agent API: which may connect, and which certificate each has shown. Used by ``agent_app``.

A certificate comes with TLS that this server ends itself; or in a header, from the addresses of proxies that end it and
nobody else; or not at all, where a person tries things out on one machine.
"""

import base64
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import unquote

from edgewright.errors import EdgewrightError

_PASSED_ON = (b"forwarded", b"x-forwarded-for", b"x-real-ip", b"via", b"origin")
"""What tells that somebody else asks through a proxy, or a page through somebody's browser."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The other end of one request."""

    address: str
    certificate: str | None = None
    """PEM, from a peer that may bring one; nothing of it has been checked here."""
    believed: bool = False
    """Whether it is who it says without a certificate."""
    refusal: str = ""
    """Why nothing is taken from it, in words; empty where it may speak."""


@dataclass(frozen=True, slots=True)
class Peers:
    """Rules that authenticate peers.

    Args:
        insecure: Believe whoever is on this machine, over plain HTTP.
        header: Where proxies put the certificate that their client has shown them.
        proxies: Where those proxies are.
    """

    insecure: bool = False
    header: bytes | None = None
    proxies: tuple[IPv4Network | IPv6Network, ...] = ()

    def peer(self, scope: Mapping[str, Any], headers: Mapping[bytes, bytes]) -> Peer:
        """Identify the peer of a request; ``headers`` have their names in lower case."""
        address = str((scope.get("client") or ("",))[0])
        chain = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ())
        is_proxy = self.is_proxy(address)
        if self.header is not None and headers.get(self.header) and not is_proxy:
            name = self.header.decode()
            return Peer(address, refusal=f"{name} is only taken from the proxies that the server was told of")
        if chain:
            return Peer(address, certificate=str(chain[0]))
        if is_proxy:
            return Peer(address, certificate=_of_header(headers.get(self.header or b"", b"")))
        if scope.get("scheme") == "https":
            return Peer(address)
        if self.insecure and _is_here(address) and not any(name in headers for name in _PASSED_ON):
            return Peer(address, believed=True)
        return Peer(address, refusal="devices are only heard over HTTPS")

    def is_proxy(self, address: str) -> bool:
        """Return whether a proxy that the server was told of has this address."""
        if not self.proxies:
            return False
        found = _parsed(address)
        return found is not None and any(found in network for network in self.proxies)


def parse_peers(*, insecure: bool, header: str | None, proxies: Sequence[str], host: str, tls: bool) -> Peers:
    """Read what the command line says of peers.

    Args:
        insecure: Whether devices are believed without certificates.
        header: The header in which proxies pass certificates on.
        proxies: Addresses and networks of proxies.
        host: Where the server listens.
        tls: Whether it ends TLS itself.

    Raises:
        EdgewrightError: Something is wrong, or does not fit together.
    """
    if header is not None and not proxies:
        raise EdgewrightError(
            "a proxy's header needs its address",
            hint="give --proxy, the address that the proxy connects from, with --proxy-header",
        )
    networks = []
    for text in proxies:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise EdgewrightError(
                f"--proxy {text}: {error}", hint="give an address like 10.0.0.7, or a network like 10.0.0.0/24"
            ) from error
    if insecure and (tls or networks or not _is_here(host)):
        raise EdgewrightError(
            "--insecure-devices is for trying things out on one machine: it believes whatever a device says it is",
            hint="leave out --tls-cert and --proxy and listen on 127.0.0.1; or leave it out, and enroll devices",
        )
    return Peers(insecure, header.lower().encode("ascii", "replace") if header else None, tuple(networks))


def _is_here(address: str) -> bool:
    found = _parsed(address)
    return address == "localhost" if found is None else found.is_loopback


@lru_cache(maxsize=10_000)
def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(address)
    except ValueError:
        return None
    return (found.ipv4_mapped or found) if isinstance(found, IPv6Address) else found


def _of_header(value: bytes) -> str | None:
    """Read a certificate that a proxy passed on: percent-encoded PEM (nginx), or base64 of DER (HAProxy, Traefik)."""
    text = unquote(value.decode("latin-1")).strip()
    if not text:
        return None
    if text.startswith("-----BEGIN"):
        return text
    try:
        return ssl.DER_cert_to_PEM_cert(base64.b64decode(text.strip(":"), validate=True))
    except ValueError:
        return text
