"""The HTTP client against a real server: bounds, redirects, retries, TLS, and secrets that stay out of messages."""

import logging
import socket
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from edgewright.errors import Transient
from edgewright.http.client import HttpClient
from edgewright.http.errors import (
    HttpError,
    HttpUnavailable,
    InvalidRequest,
    NotSent,
    RateLimited,
    RedirectRefused,
    RetryableError,
    ServerFailed,
    UnusableResponse,
)
from edgewright.http.limits import Limits, RetryPolicy
from edgewright.http.response import Response
from edgewright.http.retry import retry
from edgewright.secret import Secret
from servers.authority import Authority
from servers.http_server import HttpServer, http_server

TOKEN = Secret("t0p-s3cret")
AUTHORIZATION = {"Authorization": f"Bearer {TOKEN.reveal()}"}
QUICK = Limits(connect=2.0, idle=0.5, total=1.0, max_bytes=1000)


@pytest.fixture
def server() -> Iterator[HttpServer]:
    with http_server() as server:
        yield server


def client_of(server: HttpServer, *, limits: Limits = QUICK, follow_redirects: bool = True) -> HttpClient:
    return HttpClient(
        "the server",
        server.url,
        headers=AUTHORIZATION,
        secrets=[TOKEN, None],
        limits=limits,
        follow_redirects=follow_redirects,
    )


def ask(server: HttpServer, method: str = "GET", *, limits: Limits = QUICK, follow_redirects: bool = True) -> Response:
    with client_of(server, limits=limits, follow_redirects=follow_redirects) as client:
        return client.request(method, "/thing", json={"a": 1} if method != "GET" else None)


def error_of(server: HttpServer) -> RetryableError:
    error = ask(server).unavailable()
    assert error is not None
    return error


# ── waits that servers ask for ────────────────────────────────────────────────────────────────────────────────────


def in_seconds(seconds: float) -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=seconds), usegmt=True)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        (" 0 ", 0.0),
        ("in 600 s", pytest.approx(600, abs=5)),
        ("600 s ago", 0.0),
        ("999999999999", 86400.0),
        ("9" * 400, 86400.0),
        ("-5", None),
        ("1.5", None),
        ("\u00b2", None),
        ("soon", None),
        ("Thu, 99 Foo", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_or_a_date(server: HttpServer, status: int, header: str, seconds: float | None) -> None:
    named = {"in 600 s": in_seconds(600), "600 s ago": in_seconds(-600)}
    server.answer(status, Retry_After=named.get(header, header))
    error = error_of(server)
    assert isinstance(error, RateLimited if status == 429 else ServerFailed)
    assert error.retry_after == seconds


def test_a_date_is_read_by_the_servers_own_clock(server: HttpServer) -> None:
    then = datetime(2020, 1, 1, tzinfo=UTC)
    ahead = format_datetime(then + timedelta(seconds=90), usegmt=True)
    server.answer(429, Date=format_datetime(then, usegmt=True), Retry_After=ahead)
    assert error_of(server).retry_after == 90


def test_a_403_may_be_a_rate_limit(server: HttpServer) -> None:
    server.answer(403, X_RateLimit_Remaining="0", X_RateLimit_Reset=str(int(time.time()) + 90))
    server.answer(403, b'{"message": "You have exceeded a secondary rate limit"}')
    server.answer(403, b'{"message": "no"}')
    by_reset, by_words = error_of(server), error_of(server)
    assert by_reset.retry_after == pytest.approx(90, abs=3)
    assert by_words.retry_after == 60
    assert ask(server).unavailable() is None


def test_what_may_be_retried_is_transient(server: HttpServer) -> None:
    server.answer(500)
    assert isinstance(error_of(server), Transient)
    assert not issubclass(InvalidRequest, Transient)
    assert not issubclass(RedirectRefused, Transient)


# ── retries ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_attempts_and_waits_are_bounded(server: HttpServer) -> None:
    waits: list[float] = []
    server.answer(500)

    def attempt() -> Response:
        response = ask(server)
        if (error := response.unavailable()) is not None:
            raise error
        return response

    policy = RetryPolicy(attempts=4, first=1.0, longest=3.0, jitter=False)
    with pytest.raises(ServerFailed):
        retry(policy, attempt, sleep=waits.append)
    assert waits == [1.0, 2.0, 3.0]
    assert len(server.requests) == 4


@pytest.mark.parametrize(
    ("error", "idempotent", "attempts"),
    [
        (RetryableError("cut"), True, 3),
        (RetryableError("cut"), False, 1),
        (ServerFailed("500"), False, 1),
        (NotSent("refused"), False, 3),
        (RateLimited("429"), False, 3),
        (RateLimited("429", retry_after=9.0), True, 3),
        (RateLimited("429", retry_after=11.0), True, 1),
        (UnusableResponse("a page"), True, 1),
        (RedirectRefused("elsewhere", target=""), True, 1),
    ],
)
def test_an_error_says_by_its_type_whether_a_request_is_sent_again(
    error: HttpError, idempotent: bool, attempts: int
) -> None:
    calls: list[int] = []
    waits: list[float] = []

    def attempt() -> None:
        calls.append(1)
        raise error

    with pytest.raises(HttpError):
        retry(RetryPolicy(attempts=3, longest=10.0), attempt, idempotent=idempotent, sleep=waits.append)
    assert len(calls) == attempts
    asked = error.retry_after if isinstance(error, HttpUnavailable) else None
    assert all(wait >= (asked or 0.0) for wait in waits)


def test_a_wait_can_be_left_to_the_caller() -> None:
    calls: list[int] = []

    def attempt() -> None:
        calls.append(1)
        raise RateLimited("429")

    with pytest.raises(RateLimited):
        retry(RetryPolicy(honors_retry_after=False), attempt, sleep=lambda _: None)
    assert len(calls) == 1


# ── redirects ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_server_does_not_carry_the_token(server: HttpServer, status: int) -> None:
    with http_server() as elsewhere:
        server.answer(status, Location=f"{elsewhere.url}/thing?token={TOKEN.reveal()}")
        with pytest.raises(RedirectRefused, match="where credentials are not sent") as refused:
            ask(server)
        assert elsewhere.requests == []
    assert TOKEN.reveal() not in str(refused.value)


def test_a_redirect_to_plain_http_is_another_server(server: HttpServer, tmp_path: Path) -> None:
    authority = Authority()
    bundle = authority.write(tmp_path / "authority.pem")
    with pytest.MonkeyPatch.context() as patch, http_server(authority.server(tmp_path)) as secure:
        patch.setenv("SSL_CERT_FILE", str(bundle))
        secure.answer(302, Location=secure.url.replace("https:", "http:") + "/thing")
        with pytest.raises(RedirectRefused, match="redirects to http://"):
            ask(secure)
        assert len(secure.requests) == 1


def test_redirects_on_the_same_server_are_followed_with_the_token(server: HttpServer) -> None:
    server.answer(301, Location="/moved")
    server.answer(307, Location=f"{server.url}/again")
    server.answer(200, b'{"found": true}')
    assert ask(server).body == {"found": True}
    assert [request.path for request in server.requests] == ["/thing", "/moved", "/again"]
    assert all(request.headers["authorization"].endswith(TOKEN.reveal()) for request in server.requests)


def test_a_write_is_repeated_only_where_the_redirect_says_so(server: HttpServer) -> None:
    server.answer(307, Location="/moved")
    server.answer(200)
    server.answer(302, Location="/moved")
    ask(server, "POST")
    assert [(request.method, request.body) for request in server.requests] == [("POST", b'{"a":1}')] * 2
    with pytest.raises(RedirectRefused) as refused:
        ask(server, "POST")
    assert refused.value.changes_method
    assert len(server.requests) == 3


def test_redirects_in_circles_end(server: HttpServer) -> None:
    server.answer(302, Location="/thing")
    with pytest.raises(RedirectRefused, match="circles"):
        ask(server)
    assert len(server.requests) == 4


def test_redirects_are_a_response_unless_they_are_to_be_followed(server: HttpServer) -> None:
    server.answer(302, Location="/moved")
    assert ask(server, follow_redirects=False).status == 302
    assert len(server.requests) == 1


# ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_body_over_the_bound_is_refused(server: HttpServer) -> None:
    server.answer(200, b"x" * 1000)
    server.answer(200, b"x" * 1001)
    assert len(ask(server).content) == 1000
    with pytest.raises(UnusableResponse, match="more than 1,000 bytes"):
        ask(server)


def test_only_the_beginning_of_a_body_is_kept_where_an_excerpt_will_do(server: HttpServer) -> None:
    limits = Limits(idle=0.5, total=1.0, max_bytes=10, excerpt=True)
    server.answer(400, b"0123456789abc")
    server.answer(400, b"0123", Content_Length="100")
    assert ask(server, limits=limits).content == b"0123456789"
    assert ask(server, limits=limits).content == b"0123"


def test_an_answer_that_trickles_takes_no_longer_than_the_bound(server: HttpServer) -> None:
    stop = threading.Event()

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
        while not stop.is_set():
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
            stop.wait(0.05)

    server.send(trickle)
    began = time.monotonic()
    with pytest.raises(RetryableError, match="takes longer than 1 s"):
        ask(server)
    stop.set()
    assert time.monotonic() - began < 5


def test_silence_is_told_as_what_it_is(server: HttpServer) -> None:
    over = threading.Event()
    server.send(lambda handler: (over.wait(10), None)[1])
    with pytest.raises(RetryableError, match=r"no data within 0\.5 s") as silent:
        ask(server)
    over.set()
    assert not isinstance(silent.value, NotSent)


def test_an_answer_that_breaks_off_may_be_asked_for_again(server: HttpServer) -> None:
    server.answer(200, b"0123", Content_Length="100")
    with pytest.raises(RetryableError, match="does not answer") as broken:
        ask(server)
    assert not isinstance(broken.value, NotSent)


def test_nobody_listens() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = HttpServer(url=f"http://127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(NotSent, match=r"the server does not answer: .*refused"):
            ask(nowhere)


def test_a_host_that_cannot_be_resolved_is_told() -> None:
    with pytest.raises(NotSent, match="host name cannot be resolved") as unknown:
        ask(HttpServer(url="http://nonesuch.invalid"))
    assert "DNS" in unknown.value.hint


# ── TLS ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_wrong_with_a_certificate_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority()
    good, other = authority.server(tmp_path / "good"), authority.server(tmp_path / "other", names=("shop.example",))
    old = authority.server(tmp_path / "old", life=timedelta(hours=1))
    bundle = authority.write(tmp_path / "authority.pem")

    def hint_for(certificate: tuple[Path, Path]) -> str:
        with http_server(certificate) as server:
            with pytest.raises(NotSent, match="its certificate is not accepted") as refused:
                ask(server)
            assert server.requests == [], "nothing was sent, least of all the token"
            return refused.value.hint

    assert "SSL_CERT_FILE" in hint_for(good)
    monkeypatch.setenv("SSL_CERT_FILE", str(bundle))
    assert "a name that the certificate is for" in hint_for(other)
    assert "renew" in hint_for(old)
    with http_server(good) as server:
        assert ask(server).status == 200


def test_tls_where_there_is_none_is_told(server: HttpServer) -> None:
    secure = HttpServer(url=server.url.replace("http:", "https:"))
    with pytest.raises(NotSent, match="TLS failed") as refused:
        ask(secure)
    assert "scheme and port" in refused.value.hint


# ── secrets ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_is_in_no_error_and_in_no_log(server: HttpServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    secret = TOKEN.reveal().encode()
    server.answer(500, b'{"message": "trouble with ' + secret + b'"}')
    server.answer(500, secret, Content_Type="text/plain")
    server.send(lambda handler: (handler.wfile.write(b"HTTP/9 " + secret + b"\r\n\r\n"), None)[1])
    said = [str(error_of(server)), str(error_of(server))]
    with pytest.raises(HttpUnavailable) as broken:
        ask(server)
    said.append(f"{broken.value} {broken.value!r} {broken.value.__cause__!r}")
    with HttpClient("the server", f"{server.url}/{TOKEN.reveal()}", secrets=[TOKEN]) as client:
        server.answers = []
        client.request("GET")
    said += [record.getMessage() for record in caplog.records if record.name.startswith("httpx")]
    assert "***" in said[0]
    assert all(TOKEN.reveal() not in text for text in said)


def test_a_secret_that_no_header_can_carry_is_not_shown() -> None:
    for value in ("two\nlines", "caf\u00e9"):
        with pytest.raises(InvalidRequest) as refused:
            HttpClient("the server", "http://127.0.0.1", headers={"X": value})
        assert value not in str(refused.value)


@pytest.mark.parametrize("url", ["", "no url", "ftp://example.com/x", "https://", "http://[::1"])
def test_an_address_that_is_none_is_refused_unseen(url: str) -> None:
    with pytest.raises(InvalidRequest, match="the URL of the server is not valid") as refused:
        HttpClient("the server", url)
    assert not url or url not in refused.value.message


@pytest.mark.parametrize(
    ("body", "kind", "words"),
    [
        (b'{"message": "not  so\\nfast"}', "application/json", "not so fast"),
        (b'{"error": "no"}', "application/json", "no"),
        (b'{"message": {"base": ["taken"]}}', "application/json", '{"base": ["taken"]}'),
        (b"invalid_payload", "text/plain; charset=utf-8", "invalid_payload"),
        (b"<html>Sign in</html>", "text/html", ""),
        (b"[" * 900, "application/json", ""),
        (b"", "", ""),
    ],
)
def test_the_servers_own_words_are_found(server: HttpServer, body: bytes, kind: str, words: str) -> None:
    server.answer(400, body, Content_Type=kind)
    assert ask(server).error_text == words
