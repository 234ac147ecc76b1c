"""Explain why no response arrived, in words that say what to do. Called by ``client``; ``tls_problem`` by mail, too."""

import socket
import ssl
from collections.abc import Iterable

import httpx

from edgewright.http.errors import NotSent, RetryableError
from edgewright.http.limits import Limits
from edgewright.secret import Secret, redact

_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_NOT_YET_VALID, _EXPIRED, _WRONG_HOST, _WRONG_ADDRESS = 9, 10, 62, 64
"""X509_V_ERR_… of openssl/x509_vfy.h."""


def no_response(server: str, error: Exception, limits: Limits, secrets: Iterable[Secret]) -> RetryableError:
    """Return the error for a request without a response."""
    reason, hint = _explain(error, limits)
    kind = NotSent if isinstance(error, _NEVER_SENT) else RetryableError
    return kind(f"{server} does not answer: {redact(reason, secrets)}", hint=hint)


def tls_problem(error: ssl.SSLError) -> tuple[str, str]:
    """Return what is wrong with a server's certificate or its TLS, and what to do."""
    if not isinstance(error, ssl.SSLCertVerificationError):
        words = (error.reason or str(error)).replace("_", " ").lower()
        return f"TLS failed, {words}", "check that the address has the right scheme and port: https:// needs TLS there"
    problem = f"its certificate is not accepted, {error.verify_message}"
    if error.verify_code in {_NOT_YET_VALID, _EXPIRED}:
        return problem, "renew the server's certificate, and check the clocks of both machines"
    if error.verify_code in {_WRONG_HOST, _WRONG_ADDRESS}:
        return problem, "use a name that the certificate is for, or a certificate for this name"
    return problem, "check the server's certificate; for a private authority, name its file in SSL_CERT_FILE"


def _explain(error: Exception, limits: Limits) -> tuple[str, str]:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLError):
            return tls_problem(cause)
        if isinstance(cause, socket.gaierror):
            return "its host name cannot be resolved", "check the host in its address, and DNS"
    hint = "check its address, and the network"
    if isinstance(error, httpx.ConnectTimeout):
        return f"no connection within {limits.connect:g} s", hint
    if isinstance(error, httpx.ReadTimeout | httpx.WriteTimeout):
        return f"no data within {limits.idle:g} s", hint
    return str(error) or type(error).__name__, hint


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what caused it, outermost first."""
    found: list[BaseException] = []
    at: BaseException | None = error
    while at is not None and at not in found:
        found.append(at)
        at = at.__cause__ or at.__context__
    return found
