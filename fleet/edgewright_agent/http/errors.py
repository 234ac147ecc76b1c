"""Messages for requests without a response. Pure. Called by ``client``."""

import ssl
from urllib.parse import urlsplit

from urllib3.exceptions import (
    ConnectTimeoutError,
    NameResolutionError,
    NewConnectionError,
    ProtocolError,
    ProxyError,
    ReadTimeoutError,
)

from edgewright_agent.http.answers import one_line

_NOT_YET_VALID, _EXPIRED, _NAMES = 9, 10, frozenset({62, 63, 64})
_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
"""OpenSSL's verification codes, as in its x509_vfy.h."""


_CAUSES: tuple[tuple[type[BaseException], str], ...] = (
    (ProxyError, "the proxy cannot be used: {cause}"),
    (NameResolutionError, "the host name cannot be resolved: is the network up, is the name right?"),
    (ConnectionRefusedError, "the connection is refused: does the server run, on this port?"),
    (ssl.SSLError, "TLS failed: {cause}: does the server speak TLS on this port?"),
    (NewConnectionError, "no connection: {cause}: is the network up?"),
    (ConnectTimeoutError, "no connection within {timeout:g} s: is the server up, does a firewall drop it?"),
    (ReadTimeoutError, "nothing came for {timeout:g} s: is the server overloaded, is the network up?"),
    (ProtocolError, "the connection broke off, or it is no HTTP: {cause}"),
)
"""The first that is among an error's causes names it."""


def explained(error: BaseException, url: str, timeout: float, proxy: str = "") -> str:
    """Name the URL, what happened, and what to look at."""
    through = f" (through the proxy {proxy}, as the environment says)" if proxy else ""
    return f"{url}{through}: {_why(error, urlsplit(url).hostname or '', timeout)}"


def _why(error: BaseException, host: str, timeout: float) -> str:
    chain = _chain(error)
    cause = one_line(str(chain[-1])) or type(chain[-1]).__name__
    for inner in chain:
        if isinstance(inner, ssl.SSLCertVerificationError):
            return _untrusted(inner, host)
    for kind, text in _CAUSES:
        if any(isinstance(inner, kind) for inner in chain):
            return text.format(cause=cause, timeout=timeout)
    return cause


def _untrusted(error: ssl.SSLCertVerificationError, host: str) -> str:
    code = error.verify_code
    if code == _NOT_YET_VALID:
        return "the server's certificate is not valid yet: is this device's clock right?"
    if code == _EXPIRED:
        return "the server's certificate has expired: renew it there; or is this device's clock wrong?"
    if code in _NAMES:
        return f"the server's certificate is not for {host}: is the URL right?"
    if code in _UNKNOWN_AUTHORITY:
        return (
            "the server's certificate comes from an authority this device does not trust: "
            "if it is a private one, name its certificate in agent.toml: ca = FILE"
        )
    return f"the server's certificate is refused: {error.verify_message}"


def looks_like_a_refused_certificate(error: BaseException) -> bool:
    """Return whether a connection ended as if the server refused the client's certificate.

    TLS 1.3 lets a client speak before it hears of that, and what says so often gets lost with the connection. So any
    connection that the server ended before it answered counts; asking for another certificate does no harm.
    """
    chain = _chain(error)
    if any(isinstance(cause, ssl.SSLCertVerificationError | ReadTimeoutError | ProxyError) for cause in chain):
        return False
    return any(isinstance(cause, ssl.SSLError | ConnectionError) for cause in chain) and not any(
        isinstance(cause, ConnectionRefusedError) for cause in chain
    )


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it came from, outermost first."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        wrapped = [arg for arg in current.args if isinstance(arg, BaseException)]
        original = getattr(current, "original_error", None)
        current = current.__cause__ or current.__context__ or original or (wrapped[0] if wrapped else None)
    return chain
