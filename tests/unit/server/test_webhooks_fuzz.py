"""Anything at all, sent to the application: never an error of ours, never a wake-up without a valid signature."""

import asyncio
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from edgewright.controller import wakeups
from edgewright.controller.health import ProcessHealth
from edgewright.secret import Secret
from edgewright.server.app import HookSettings, create_app
from edgewright.server.hooks.webhooks import Hook
from harness.asgi_calls import Answer, call
from samples.forge_payloads import FORGES, EventName, ForgeName, payload, sign

SECRET = "correct horse battery staple"
MOST_BYTES = 64 << 10
EVENTS: tuple[EventName, ...] = ("push", "tag", "pull_request")
ENCODED_BODIES = frozenset({"gitlab", "azure"})  # these prove who sent it, and nothing of the body


class Woken:
    """Remembers what it was woken for."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []

    def notify(self, hook: wakeups.Hook) -> None:
        assert isinstance(hook, Hook)
        self.hooks.append(hook)


class Tried:
    """One application, asked again and again."""

    def __init__(self) -> None:
        self.waker = Woken()
        settings = HookSettings((Secret(SECRET),), max_bytes=MOST_BYTES, body_seconds=0.05)
        self._app = create_app(settings, self.waker, ProcessHealth(role="active"))
        self._runner = asyncio.Runner()

    def ask(
        self,
        method: str,
        path: str,
        headers: Iterable[tuple[bytes, bytes]],
        chunks: Sequence[bytes],
        ends: str = "http.request",
    ) -> tuple[Answer, list[Hook]]:
        """The answer and whom it woke; what must hold for every request is checked here."""
        self.waker.hooks.clear()
        with capture_logs() as lines:
            answer = self._runner.run(call(self._app, method, path, headers, chunks, ends=ends))
        assert answer.status < 500
        assert answer.headers["x-content-type-options"] == "nosniff"
        (line,) = lines
        assert (line["event"], line["status"], line["log_level"]) == ("request", answer.status, "info")
        assert SECRET not in repr(line)
        assert all(part.isprintable() for part in map(str, line.values()))
        assert bool(self.waker.hooks) == (answer.status == 202 and answer.json()["accepted"])
        return answer, list(self.waker.hooks)

    def close(self) -> None:
        self._runner.close()


@pytest.fixture(scope="module")
def tried() -> Iterable[Tried]:
    tried = Tried()
    yield tried
    tried.close()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
known_headers = st.sampled_from(
    b"content-type content-length authorization x-github-event x-hub-signature-256 x-gitlab-token x-gitea-signature "
    b"webhook-signature webhook-id x-signature x-event-key expect".split()
)
any_headers = st.lists(
    st.tuples(known_headers | st.binary(min_size=1, max_size=20), st.binary(max_size=60)), max_size=8
)
paths = (
    st.sampled_from(["/", "/healthz", "/readyz", "/hooks", "/hooks/", "/docs", "/openapi.json"])
    | st.sampled_from(FORGES).map("/hooks/{}".format)
    | st.text(max_size=300).map("/hooks/{}".format)
    | st.text(max_size=300).map("/{}".format)
)
methods = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH"]) | st.text(
    st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30
)


@given(methods, paths, any_headers, st.lists(st.binary(max_size=200), max_size=4), st.sampled_from(["http.request"]))
def test_strangers_wake_nobody(
    tried: Tried, method: str, path: str, headers: list[tuple[bytes, bytes]], chunks: list[bytes], ends: str
) -> None:
    _, woken = tried.ask(method, path, headers, chunks, ends)
    assert woken == []


@given(st.sampled_from(FORGES), any_headers, st.binary(max_size=200), st.sampled_from(["http.disconnect", "silence"]))
def test_bodies_without_an_end_wake_nobody(
    tried: Tried, forge: str, headers: list[tuple[bytes, bytes]], body: bytes, ends: str
) -> None:
    declared = [(name, value) for name, value in headers if name != b"content-length"]
    answer, woken = tried.ask("POST", f"/hooks/{forge}", declared, [body], ends)
    assert (answer.status, woken) == (400 if ends == "http.disconnect" else 408, [])


@given(st.sampled_from(FORGES), st.sampled_from(EVENTS), json_values)
def test_signed_json_of_any_shape_is_answered(tried: Tried, forge: ForgeName, event: EventName, content: Any) -> None:
    headers, _ = payload(forge, event)
    answer, _ = tried.ask("POST", f"/hooks/{forge}", *proven(forge, headers, json.dumps(content).encode()))
    assert answer.status == 202 if isinstance(content, dict) else answer.status == 400


@given(st.data())
def test_signed_payloads_with_odd_parts_are_answered(tried: Tried, data: st.DataObject) -> None:
    forge = data.draw(st.sampled_from(FORGES))
    event = data.draw(st.sampled_from(EVENTS))
    headers, body = payload(forge, event)
    content = json.loads(body)
    for _ in range(data.draw(st.integers(1, 3))):
        _mutate(content, data)
    answer, woken = tried.ask("POST", f"/hooks/{forge}", *proven(forge, headers, json.dumps(content).encode()))
    assert answer.status == 202
    for hook in woken:
        assert hook.number is None or 0 < hook.number < 2**31
        assert hook.ref is None or isinstance(hook.ref, str)


@given(st.data())
def test_a_changed_body_is_not_believed(tried: Tried, data: st.DataObject) -> None:
    forge = data.draw(st.sampled_from([forge for forge in FORGES if forge not in ENCODED_BODIES]))
    headers, body = payload(forge, data.draw(st.sampled_from(EVENTS)))
    lines, _ = proven(forge, headers, body)
    at = data.draw(st.integers(0, len(body) - 1))
    changed = (
        body[:at] + data.draw(st.binary(max_size=4).filter(lambda part: part != body[at : at + 1])) + body[at + 1 :]
    )
    answer, woken = tried.ask("POST", f"/hooks/{forge}", lines, [changed])
    assert (answer.status, woken) == (401, [])


@given(st.sampled_from(FORGES), st.data())
def test_a_changed_proof_is_not_believed(tried: Tried, forge: ForgeName, data: st.DataObject) -> None:
    headers, body = payload(forge, "push")
    proofs = {name.lower() for name in sign(forge, SECRET, headers, body)} - {name.lower() for name in headers}
    junk = data.draw(st.binary(max_size=100).filter(lambda value: SECRET.encode() not in value))
    lines, chunks = proven(forge, headers, body)
    forged = [(name, junk if name.decode().lower() in proofs else value) for name, value in lines]
    answer, woken = tried.ask("POST", f"/hooks/{forge}", forged, chunks)
    assert (answer.status, woken) == (401, [])


def proven(forge: ForgeName, headers: dict[str, str], body: bytes) -> tuple[list[tuple[bytes, bytes]], list[bytes]]:
    """Header lines with a valid signature, and the body in two chunks."""
    signed = sign(forge, SECRET, headers, body)
    half = len(body) // 2
    return [(name.encode(), value.encode("latin-1")) for name, value in signed.items()], [body[:half], body[half:]]


def _mutate(content: Any, data: st.DataObject) -> None:
    """Put anything in place of one part, somewhere below."""
    while True:
        keys: list[Any] = sorted(content) if isinstance(content, dict) else list(range(len(content)))
        if not keys:
            return
        key = data.draw(st.sampled_from(keys))
        if not isinstance(content[key], dict | list) or data.draw(st.booleans()):
            content[key] = data.draw(json_values)
            return
        content = content[key]
