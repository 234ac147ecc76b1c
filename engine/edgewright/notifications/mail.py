"""Electronic mail through an SMTP server: one mail for each notification, in plain text.

There are no digests: a receiver's limit already bounds how many mails come, and a mail about one thing can be
answered and filed. The Message-ID is the notification's id, so that mail systems drop doubles.
"""

import smtplib
import ssl
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime

import structlog

from edgewright.core.status.notifications import Notification
from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.notifications.wording import details, subject
from edgewright.secret import Secret, redact
from edgewright_schemas.notifications import EmailSink

_TIMEOUT_SECONDS = 15.0
_LONGEST_SUBJECT = 150
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})
_log = structlog.get_logger("edgewright.notifications")


class MailNotifier:
    """Implements ports.Notifier."""

    def __init__(self, who: str, sink: EmailSink, password: Secret | None) -> None:
        """Remember where to.

        Raises:
            NotificationError: An address is none, or the password or mail would cross a network unprotected.
        """
        self._who = who
        self._sink = sink
        self._password = password
        self._sender = _address(who, sink.sender)
        self._recipients = tuple(_address(who, one) for one in sink.recipients)
        if sink.security == "none" and sink.host not in _LOCAL:
            raise NotificationError(
                f"{who} would send mail to {sink.host} unprotected",
                hint="security: none is for a server on the same machine; use starttls or tls",
            )
        if (sink.user is None) != (password is None):
            raise NotificationError(f"{who} has only one of user and password", hint="give both, or neither")

    def send(self, notification: Notification) -> None:
        """Send one mail to all recipients; may be repeated.

        Raises:
            NotificationUnavailable: The server did not answer, or asked to come again later.
            NotificationError: It refused the login, the sender, all recipients or the mail, or its certificate is bad.
        """
        message = self._write(notification)
        with self._refusals(), self._connected() as server:
            refused = server.send_message(message, self._sender, list(self._recipients))
        for recipient in refused:
            _log.warning("a recipient was refused; the others have the mail", receiver=self._who, recipient=recipient)

    def _write(self, notification: Notification) -> EmailMessage:
        line = " ".join("".join(c if c.isprintable() else " " for c in subject(notification)).split())
        message = EmailMessage()
        message["Subject"] = line if len(line) <= _LONGEST_SUBJECT else line[: _LONGEST_SUBJECT - 1] + "…"
        message["From"] = self._sender
        message["To"] = ", ".join(self._recipients)
        message["Date"] = format_datetime(notification.at)
        message["Message-ID"] = f"<{notification.id}@{self._sender.rpartition('@')[2]}>"
        message["Auto-Submitted"] = "auto-generated"  # RFC 3834: nobody's absence notice answers it
        body = "\n\n".join(details(notification)) + "\n"
        message.set_content(body.encode(errors="replace").decode())
        return message

    @contextmanager
    def _connected(self) -> Iterator[smtplib.SMTP]:
        sink, context = self._sink, ssl.create_default_context()
        if sink.security == "tls":
            server: smtplib.SMTP = smtplib.SMTP_SSL(sink.host, sink.port, timeout=_TIMEOUT_SECONDS, context=context)
        else:
            server = smtplib.SMTP(sink.host, sink.port, timeout=_TIMEOUT_SECONDS)
        with server:
            if sink.security == "starttls":
                server.starttls(context=context)
            if sink.user is not None and self._password is not None:
                server.login(sink.user, self._password.reveal())
            yield server

    @contextmanager
    def _refusals(self) -> Iterator[None]:
        """Turn what smtplib raises into our errors, without the password."""
        try:
            yield
        except smtplib.SMTPRecipientsRefused as error:
            answers = {recipient: code for recipient, (code, _) in error.recipients.items()}
            raise self._recipients_refused(answers) from None
        except smtplib.SMTPAuthenticationError as error:
            raise self._answered(error.smtp_code, "refused the login", "look at user and password") from None
        except smtplib.SMTPResponseException as error:
            said = (
                error.smtp_error.decode(errors="replace") if isinstance(error.smtp_error, bytes) else error.smtp_error
            )
            raise self._answered(error.smtp_code, f"answered {error.smtp_code}: {self._line(said)}") from None
        except smtplib.SMTPNotSupportedError as error:
            hint = "choose another security, or another server"
            raise NotificationError(f"{self._who}: {self._line(str(error))}", hint=hint) from None
        except ssl.SSLCertVerificationError as error:
            raise NotificationError(
                f"{self._who}: the certificate of {self._sink.host} is not good: {error.verify_message}",
                hint="for a private authority, name its certificate in SSL_CERT_FILE",
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            what = f"{self._sink.host}:{self._sink.port} did not answer ({type(error).__name__})"
            raise NotificationUnavailable(f"{self._who}: {what}") from None

    def _recipients_refused(self, answers: Mapping[str, int]) -> NotificationError | NotificationUnavailable:
        later = any(400 <= code < 500 for code in answers.values())
        names = ", ".join(f"{recipient} ({code})" for recipient, code in sorted(answers.items()))
        return self._answered(400 if later else 500, f"refused every recipient: {names}")

    def _answered(self, code: int, what: str, hint: str = "") -> NotificationError | NotificationUnavailable:
        message = f"{self._who}: {self._sink.host} {what}"
        return (
            NotificationUnavailable(message, hint=hint) if 400 <= code < 500 else NotificationError(message, hint=hint)
        )

    def _line(self, text: str) -> str:
        return " ".join(redact(text, [self._password]).split())[:200]


def _address(who: str, text: str) -> str:
    """Check one address; it must not be able to add a header.

    Raises:
        NotificationError: It is none.
    """
    try:
        parsed = Address(addr_spec=text)
    except (ValueError, IndexError, AttributeError):
        parsed = Address()
    if not parsed.username or not parsed.domain or not text.isascii() or not text.isprintable() or "," in text:
        raise NotificationError(f"{who}: {text!r} is no mail address", hint="write it like alerts@example.com")
    return parsed.addr_spec
