"""TLS of the HTTP server: a context that follows its files, so that what is renewed needs no restart."""

import logging
import ssl
from collections.abc import Callable
from pathlib import Path

from edgewright.errors import EdgewrightError

log = logging.getLogger(__name__)


class TlsContext:
    """A certificate chain and its key, and authorities of certificates that clients may show.

    Connections that are made after ``refresh`` see what is there then; those before it go on.

    Args:
        certificate: The chain, PEM.
        key: Its key, PEM, without a password.
        authorities: Gives the authorities (PEM), or nothing. A client's certificate that is of none of them, or out of
            date, is refused with the connection. One that was trusted once is trusted until the process ends.

    Raises:
        EdgewrightError: The certificate or its key cannot be read or used.
    """

    def __init__(self, certificate: Path, key: Path, authorities: Callable[[], bytes]) -> None:
        self._files = certificate, key
        self._authorities = authorities
        self._trusted = b""
        self._trouble = ""
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._loaded = self._read()
        self._load(self.context)
        self._trust()

    def refresh(self) -> None:
        """Take up what has changed. What cannot be used is logged once, and what was there before goes on.

        Nothing is raised: the server would end for what lies in a file.
        """
        troubles = []
        for take_up in (self._renew, self._trust):
            try:
                take_up()
            except EdgewrightError as error:
                troubles.append(error.message)
            except (OSError, ValueError) as error:
                troubles.append(f"the authorities of devices cannot be used: {error}")
        said = "; ".join(troubles)
        if said and said != self._trouble:
            log.warning("%s; what was there before is still in use", said)
        self._trouble = said

    def _renew(self) -> None:
        there = self._read()
        if there != self._loaded:
            self._load(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # a chain and its key come one after the other
            self._load(self.context)
            self._loaded = there
            log.info("the certificate %s was renewed", self._files[0])

    def _trust(self) -> None:
        authorities = self._authorities()
        if authorities and authorities != self._trusted:
            self.context.load_verify_locations(cadata=authorities.decode("ascii"))
            self.context.verify_mode = ssl.CERT_OPTIONAL
            self._trusted = authorities

    def _read(self) -> tuple[bytes, ...]:
        found = []
        for path in self._files:
            try:
                found.append(path.read_bytes())
            except OSError as error:
                raise EdgewrightError(
                    f"cannot read {path}: {error.strerror}", hint="TLS needs a certificate and its key, as PEM files"
                ) from error
        return tuple(found)

    def _load(self, context: ssl.SSLContext) -> None:
        certificate, key = self._files
        try:
            # An empty password, so that an encrypted key is an error and no question on the terminal.
            context.load_cert_chain(certificate, key, password="")
        except OSError as error:
            raise EdgewrightError(
                f"cannot use the certificate {certificate} with the key {key}: {error}",
                hint="both must be PEM, the key without a password, and belong together",
            ) from error
