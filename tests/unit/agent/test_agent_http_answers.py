"""What HTTP answers say: headers and bodies that servers, proxies and object stores really send."""

from datetime import UTC, datetime

import pytest

from edgewright_agent.http.answers import entity_tag, granted_wait, poll_interval, range_start, retry_after, said
from edgewright_agent.http.urls import is_loopback, is_plain_http, origin_of, problem_of_url

NOW = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, 0.0),
        ({"Retry-After": "30"}, 30.0),
        ({"Retry-After": "999999999"}, 86400.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({"Retry-After": "²"}, 0.0),
        ({"Retry-After": "Sun, 01 Mar 2026 12:00:45 GMT"}, 45.0),
        ({"Retry-After": "Sun, 01 Mar 2026 11:00:00 GMT"}, 0.0),
        # The server's own clock counts: the device's may be decades behind.
        ({"Retry-After": "Tue, 01 Mar 2050 12:00:45 GMT", "Date": "Tue, 01 Mar 2050 12:00:00 GMT"}, 45.0),
    ],
)
def test_how_long_a_server_asks_to_be_left_alone(headers: dict[str, str], seconds: float) -> None:
    assert retry_after(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("30", 30.0), ("0", 1.0), ("0.2", 1.0), ("86400", 3600.0), ("2.5", 2.5), ("nan", None), ("-1", None), ("", None)],
)
def test_the_servers_polling_interval_is_obeyed_within_bounds(value: str, seconds: float | None) -> None:
    assert poll_interval({"Edgewright-Poll": value}) == seconds


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("wait=30", 30.0), ("respond-async, wait=10", 10.0), ('wait="5"', 5.0), ("await=3", 0.0), ("respond-async", 0.0)],
)
def test_whether_a_server_would_wait(value: str, seconds: float) -> None:
    assert granted_wait({"Preference-Applied": value}) == seconds


def test_only_strong_tags_tell_that_bytes_are_the_same() -> None:
    assert entity_tag({"ETag": '"abc"'}) == '"abc"'
    assert [entity_tag({"ETag": tag}) for tag in ('W/"abc"', "abc", '"a"b"', "")] == [""] * 4


def test_where_a_partial_answer_begins() -> None:
    assert range_start({"Content-Range": "bytes 5-9/10"}) == 5
    assert range_start({"Content-Range": "bytes 5-9/*"}) == 5
    assert range_start({"Content-Range": "bytes */10"}) is None
    assert range_start({}) is None


@pytest.mark.parametrize(
    ("body", "line"),
    [
        (b'{"error": "too large", "reason": "TooLarge"}', "TooLarge: too large"),
        (b'{"detail": "not\\nhere"}', "not here"),
        (b"<!DOCTYPE html><html><head><title> 502\n Bad Gateway </title>", "502 Bad Gateway"),
        (b"<html><body>no title</body>", ""),
        (b"\x1b[2Jplain\x00 text", "[2Jplain  text"),
        (b"\xff" * 1000, "\ufffd" * 300),
        (b"[1]", "[1]"),
    ],
)
def test_what_an_error_says_fits_a_line_of_a_log(body: bytes, line: str) -> None:
    assert said(body).strip() == line


@pytest.mark.parametrize(
    ("url", "loopback"),
    [
        ("http://127.0.0.1:80/x", True),
        ("http://127.9.9.9", True),
        ("http://[::1]:8080", True),
        ("http://localhost", True),
        ("http://edge.localhost", True),
        ("http://localhost.example", False),
        ("http://10.0.0.1", False),
        ("http://127.0.0.1.example", False),
    ],
)
def test_what_is_this_very_machine(url: str, loopback: bool) -> None:
    assert is_loopback(url) is loopback
    assert is_plain_http(url) is not loopback
    assert not is_plain_http(url.replace("http:", "https:"))


def test_an_origin_has_a_port_even_where_the_url_leaves_it_out() -> None:
    assert origin_of("https://a.example/x") == origin_of("https://a.example:443/y")
    assert origin_of("https://a.example") != origin_of("http://a.example:443")


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("https://edgewright.example/agent/default", ""),
        ("https://[2001:db8::1]:8443/agent", ""),
        ("https://user:secret@edgewright.example", "password"),
        ("https:///agent", "no host"),
        ("https://edgewright.example:port/", "no URL"),
        ("https://edgewright.example:0/", "no host"),
        ("https://edgewright.example/?a=1", "'?'"),
    ],
)
def test_a_base_url_that_cannot_be_one_is_named(url: str, says: str) -> None:
    problem = problem_of_url(url)
    assert says in problem
    assert bool(problem) is bool(says)
    assert "secret" not in problem
