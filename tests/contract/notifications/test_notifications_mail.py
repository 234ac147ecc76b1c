"""Mail, through a real SMTP server: with and without TLS and a login."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.core.status.notifications import Notification
from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.notifications.mail import MailNotifier
from edgewright.secret import Secret
from edgewright_schemas.notifications import EmailSink
from servers.notification_receivers import PASSWORD, USER, smtp_receiver, write_certificate

pytestmark = pytest.mark.filterwarnings("ignore:Requiring AUTH")
NOTIFICATION = Notification(
    datetime(2026, 3, 2, 10, tzinfo=UTC), "warning", "DeviceFailed", "rollout/reader", "lane-1 failed", id="f00d"
)


def notifier(port: int, *, password: str | None = None, **fields: object) -> MailNotifier:
    sink = {"host": "127.0.0.1", "port": port, "sender": "edgewright@example.com", "recipients": ["a@example.com"]}
    if password is not None:
        sink |= {"user": USER, "password": {"secret": "mail"}}
    sink_of = EmailSink.model_validate(sink).model_copy(update=fields)  # addresses as no spec may have them, too
    return MailNotifier("receiver ops", sink_of, Secret(password) if password is not None else None)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return write_certificate(tmp_path / "certificate.pem")


@pytest.mark.parametrize("security", ["starttls", "tls", "none"])
@pytest.mark.parametrize("password", [None, PASSWORD])
def test_mail_arrives(security: str, password: str | None, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    shown = None if security == "none" else certificate
    with smtp_receiver(shown, starttls=security == "starttls", auth=password is not None) as receiver:
        notifier(receiver.port, password=password, security=security).send(NOTIFICATION)
        (mail,) = receiver.mails
        assert receiver.protected == [security != "none"]
    assert mail["Subject"] == "warning: rollout/reader DeviceFailed"
    assert mail["Message-ID"] == "<f00d@example.com>"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert "lane-1 failed" in mail.get_content()


@pytest.mark.parametrize("security", ["starttls", "tls"])
def test_a_certificate_of_nobody_known_is_refused(security: str, certificate: Path) -> None:
    with smtp_receiver(certificate, starttls=security == "starttls") as receiver:
        with pytest.raises(NotificationError, match="is not good"):
            notifier(receiver.port, security=security).send(NOTIFICATION)
        assert receiver.mails == []


def test_no_mail_goes_out_unprotected_where_protection_was_asked_for() -> None:
    with smtp_receiver() as receiver:
        with pytest.raises(NotificationError, match="STARTTLS"):
            notifier(receiver.port).send(NOTIFICATION)
        assert receiver.mails == []


def test_a_wrong_password_is_refused_and_not_shown() -> None:
    with smtp_receiver(auth=True) as receiver, pytest.raises(NotificationError, match="refused the login") as refused:
        notifier(receiver.port, password="a wrong one", security="none").send(NOTIFICATION)
    assert "a wrong one" not in str(refused.value)


def test_a_recipient_that_is_refused_stands_in_nobodys_way() -> None:
    both = ["a@example.com", "b@example.com"]
    with smtp_receiver() as receiver:
        receiver.refused["a@example.com"] = "550 no such mailbox"
        notifier(receiver.port, security="none", recipients=both).send(NOTIFICATION)
        assert receiver.recipients == [("b@example.com",)]
        receiver.refused["b@example.com"] = "450 mailbox busy"
        with pytest.raises(NotificationUnavailable, match="refused every recipient"):
            notifier(receiver.port, security="none", recipients=both).send(NOTIFICATION)


def test_nobody_listens() -> None:
    with smtp_receiver() as receiver:
        port = receiver.port
    with pytest.raises(NotificationUnavailable, match="did not answer"):
        notifier(port, security="none").send(NOTIFICATION)


@pytest.mark.parametrize("address", ["", "ops", "a@example.com\nBcc: b@example.com", "a@example.com, b@example.com"])
def test_an_address_cannot_add_headers(address: str) -> None:
    with pytest.raises(NotificationError, match="no mail address"):
        notifier(25, security="none", sender=address)
    with pytest.raises(NotificationError, match="no mail address"):
        notifier(25, security="none", recipients=[address])


def test_a_network_is_not_crossed_unprotected() -> None:
    with pytest.raises(NotificationError, match="unprotected"):
        notifier(25, host="mail.example.com", security="none")


def test_a_user_without_password_is_refused() -> None:
    with pytest.raises(NotificationError, match="only one of user and password"):
        notifier(25, user="edgewright")
