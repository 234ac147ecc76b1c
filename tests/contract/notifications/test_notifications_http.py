"""What chat and signed webhooks do when receivers answer otherwise than they should."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from edgewright.core.status.notifications import Notification
from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.notifications.chat import ChatNotifier, escape
from edgewright.notifications.poster import Poster
from edgewright.notifications.webhook import WebhookNotifier
from edgewright.secret import Secret
from servers.notification_receivers import HttpReceiver, http_receiver

NOTIFICATION = Notification(datetime(2026, 3, 2, tzinfo=UTC), "info", "Test", "repository/shop", "hello", id="f00d")


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


def chat(url: str, waits: list[float] | None = None) -> ChatNotifier:
    return ChatNotifier(Poster("receiver ops", Secret(url), sleep=(waits if waits is not None else []).append))


def test_a_receiver_that_fails_twice_is_told_in_the_end() -> None:
    waits: list[float] = []
    with http_receiver() as receiver:
        receiver.answer(502)
        receiver.answer(500)
        receiver.answer(200)
        chat(receiver.url, waits).send(NOTIFICATION)
        assert len(receiver.requests) == 3
    assert waits == [0.5, 1.0]


def test_attempts_are_bounded() -> None:
    with http_receiver() as receiver:
        receiver.answer(500)
        with pytest.raises(NotificationUnavailable, match="receiver ops answers with a server error, 500"):
            chat(receiver.url).send(NOTIFICATION)
        assert len(receiver.requests) == 3


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("in ten minutes", pytest.approx(600, abs=60)),
        ("999999999999", 86400.0),
        ("-5", None),
        ("soon", None),
        ("Thu, 99 Foo", None),
    ],
    ids=["seconds", "moment", "too-long", "negative", "words", "no-date"],
)
def test_a_receiver_may_ask_to_be_left_alone(header: str, seconds: float | None) -> None:
    with http_receiver() as receiver:
        if header == "in ten minutes":
            header = format_datetime(datetime.now(UTC) + timedelta(minutes=10), usegmt=True)
        receiver.answer(429, Retry_After=header)
        with pytest.raises(NotificationUnavailable) as asked:
            chat(receiver.url).send(NOTIFICATION)
        assert len(receiver.requests) == 1
    assert asked.value.retry_after == seconds


def test_secrets_do_not_follow_redirects() -> None:
    with http_receiver() as elsewhere, http_receiver() as receiver:
        receiver.answer(307, Location=elsewhere.url)
        with pytest.raises(NotificationError, match="307") as refused:
            chat(receiver.url).send(NOTIFICATION)
        assert elsewhere.requests == []
    assert "secret-path" not in str(refused.value)


def test_nobody_listens() -> None:
    with http_receiver() as receiver:
        url = receiver.url
    with pytest.raises(NotificationUnavailable, match="does not answer"):
        chat(url).send(NOTIFICATION)


def test_an_endless_answer_is_cut() -> None:
    with http_receiver() as receiver:
        receiver.answer(400, "no " * 1_000_000)
        with pytest.raises(NotificationError) as refused:
            chat(receiver.url).send(NOTIFICATION)
    assert len(refused.value.message) < 300


@pytest.mark.parametrize("url", ["", "no url", "ftp://example.com/x", "https://", "http://[::1"])
def test_what_is_no_url_is_refused_unseen(url: str) -> None:
    with pytest.raises(NotificationError, match="the URL of receiver ops is not valid") as refused:
        Poster("receiver ops", Secret(url))
    assert not url or url not in refused.value.message


def test_chat_text_means_only_itself(receiver: HttpReceiver) -> None:
    chat(receiver.url).send(replace(NOTIFICATION, message="<!channel> <https://evil|ok> a & b @all me@example.com"))
    text = receiver.requests[0].json["text"]
    assert "<" not in text
    assert "&lt;!channel&gt;" in text
    assert "a &amp; b" in text
    assert "@all" not in text
    assert escape("see https://evil.example/x, evil.example and [here](x)") == (
        "see https:\u200b//evil\u200b.example/x, evil\u200b.example and [here]\u200b(x)"
    )
    assert escape("accuracy 0.93 of 1.2.3") == "accuracy 0.93 of 1.2.3"


def test_a_signature_holds_the_moment_it_was_sent(receiver: HttpReceiver) -> None:
    moments = iter([datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 3, tzinfo=UTC)])
    poster = Poster("receiver ops", Secret(receiver.url), sleep=lambda _: None)
    receiver.answer(500)
    receiver.answer(200)
    WebhookNotifier(poster, Secret("k"), clock=lambda: next(moments)).send(NOTIFICATION)
    first, second = (request.headers for request in receiver.requests)
    assert first["x-edgewright-delivery"] == second["x-edgewright-delivery"] == "f00d"
    assert first["x-edgewright-timestamp"] != second["x-edgewright-timestamp"]
    assert first["x-edgewright-signature"] != second["x-edgewright-signature"]
