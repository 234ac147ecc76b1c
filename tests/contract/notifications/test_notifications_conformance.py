"""What every notifier must do; run against each driver with a real server, and against the fake."""

import hmac
import logging
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edgewright.core.status.notifications import Notification
from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.notifications.chat import ChatNotifier
from edgewright.notifications.mail import MailNotifier
from edgewright.notifications.poster import Poster
from edgewright.notifications.webhook import WebhookNotifier
from edgewright.ports import Notifier
from edgewright.secret import Secret
from edgewright_schemas.notifications import EmailSink
from servers.notification_receivers import (
    PASSWORD,
    USER,
    InMemoryNotifier,
    http_receiver,
    smtp_receiver,
    write_certificate,
)

KEY = Secret("key-of-the-webhook")
NOTIFICATION = Notification(
    at=datetime(2026, 3, 2, 10, 0, tzinfo=UTC),
    severity="error",
    reason="GateFailed",
    address="model/reader",
    message="accuracy 0.91 < 0.95 & falling",
    environment="production",
    revision="0123456789abcdef",
    suppressed=2,
    data={"from": "Ready", "to": "Stalled"},
    id="f00d",
)


@dataclass
class Subject:
    """A notifier, what has arrived, and ways to make the receiver fail."""

    notifier: Notifier
    arrived: Callable[[], list[str]]
    """Texts, as the receiver shows them."""
    ids: Callable[[], list[str]]
    fail_for_now: Callable[[], None]
    refuse: Callable[[], None]
    secrets: tuple[str, ...] = ()


def fake(stack: ExitStack, tmp_path: Path) -> Subject:
    notifier = InMemoryNotifier()
    return Subject(
        notifier,
        lambda: [f"{n.severity} {n.address} {n.reason} {n.message} {n.environment}" for n in notifier.notifications],
        lambda: [notification.id for notification in notifier.notifications],
        lambda: setattr(notifier, "trouble", NotificationUnavailable("away")),
        lambda: setattr(notifier, "trouble", NotificationError("no")),
    )


def chat(stack: ExitStack, tmp_path: Path) -> Subject:
    receiver = stack.enter_context(http_receiver())
    notifier = ChatNotifier(Poster("receiver ops", Secret(receiver.url), sleep=lambda _: None))

    def texts() -> list[str]:
        told = [request.json["text"] for request in receiver.requests]
        return [text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&") for text in told]

    return Subject(
        notifier,
        texts,
        lambda: ["f00d"] * len(receiver.requests),  # the format has no place for one
        lambda: receiver.always(503, f"no: {receiver.url}"),
        lambda: receiver.always(403, f"invalid_token: {receiver.url}"),
        (receiver.url, "secret-path"),
    )


def webhook(stack: ExitStack, tmp_path: Path) -> Subject:
    receiver = stack.enter_context(http_receiver())
    notifier = WebhookNotifier(Poster("receiver ops", Secret(receiver.url), sleep=lambda _: None), KEY)

    def texts() -> list[str]:
        for request in receiver.requests:
            signed = request.headers["x-edgewright-timestamp"].encode() + b"." + request.body
            expected = hmac.new(KEY.reveal().encode(), signed, "sha256").hexdigest()
            assert request.headers["x-edgewright-signature"] == f"sha256={expected}"
        return [" ".join(str(value) for value in request.json.values()) for request in receiver.requests]

    return Subject(
        notifier,
        texts,
        lambda: [request.headers["x-edgewright-delivery"] for request in receiver.requests],
        lambda: receiver.always(500),
        lambda: receiver.always(404),
        (receiver.url, "secret-path", KEY.reveal()),
    )


def mail(stack: ExitStack, tmp_path: Path) -> Subject:
    monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
    certificate = write_certificate(tmp_path / "certificate.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    receiver = stack.enter_context(smtp_receiver(certificate, starttls=True, auth=True))
    sink = EmailSink.model_validate(
        {"host": "127.0.0.1", "port": receiver.port, "user": USER, "password": {"secret": "mail"}}
        | {"sender": "edgewright@example.com", "recipients": ["a@example.com", "b@example.com"]}
    )
    notifier = MailNotifier("receiver ops", sink, Secret(PASSWORD))
    return Subject(
        notifier,
        lambda: [f"{mail['Subject']} {mail.get_content()}" for mail in receiver.mails],
        lambda: [str(mail["Message-ID"]).strip("<>").partition("@")[0] for mail in receiver.mails],
        lambda: setattr(receiver, "answer", f"451 come again; {PASSWORD}"),
        lambda: setattr(receiver, "answer", f"554 no; {PASSWORD}"),
        (PASSWORD,),
    )


@pytest.fixture(params=[fake, chat, webhook, mail])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    with ExitStack() as stack:
        yield request.param(stack, tmp_path)


def test_a_notification_arrives_whole(subject: Subject) -> None:
    subject.notifier.send(NOTIFICATION)
    (text,) = subject.arrived()
    for part in ("error", "model/reader", "GateFailed", NOTIFICATION.message, "production"):
        assert part in text


def test_a_notification_sent_again_has_the_same_id(subject: Subject) -> None:
    subject.notifier.send(NOTIFICATION)
    subject.notifier.send(NOTIFICATION)
    assert subject.ids() == ["f00d", "f00d"]


@pytest.mark.parametrize("message", ["", "line\nline\r\nBcc: everybody@example.com", "é ✓ \ud800 \x00", "x" * 100_000])
def test_any_message_arrives(subject: Subject, message: str) -> None:
    subject.notifier.send(replace(NOTIFICATION, message=message))
    assert len(subject.arrived()) == 1


def test_what_may_pass_and_what_will_not_are_told_apart(subject: Subject, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    subject.fail_for_now()
    with pytest.raises(NotificationUnavailable) as away:
        subject.notifier.send(NOTIFICATION)
    subject.refuse()
    with pytest.raises(NotificationError) as refused:
        subject.notifier.send(NOTIFICATION)
    logged = " ".join(record.getMessage() for record in caplog.records if record.name != "mail.log")  # the server's own
    said = f"{away.value} {refused.value} {away.value!r} {refused.value!r} {logged}"
    for secret in subject.secrets:
        assert secret not in said
