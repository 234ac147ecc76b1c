"""What a controller over TLS takes up while it serves: a renewed certificate, and new authorities of devices."""

import json
import logging
import shutil
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from edgewright.server import serving
from edgewright.server.serving import Serving
from harness.asgi import live
from servers.certificates import self_signed

PATIENCE = 20


async def says_who_asks(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers how many certificates a client has shown."""
    if scope["type"] == "lifespan":
        await live(receive, send)
        return
    shown = scope.get("extensions", {}).get("tls", {}).get("client_cert_chain", ())
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": json.dumps(len(tuple(shown))).encode()})


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(serving, "TLS_SECONDS", 0.1)
    yield


def wait(check: Callable[[], bool]) -> None:
    end = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)  # the server looks at its own pace


def answers(url: str, trusted: Path, client: tuple[Path, Path] | None = None) -> int | None:
    """How many certificates the server has seen; None where the connection comes to nothing."""
    context = ssl.create_default_context(cafile=str(trusted))
    if client is not None:
        context.load_cert_chain(*client)
    try:
        return int(httpx.get(url, verify=context, trust_env=False, timeout=PATIENCE).json())
    except httpx.TransportError:
        return None


def test_a_renewed_certificate_is_taken_up_without_a_restart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first, second = self_signed(tmp_path, "first"), self_signed(tmp_path, "second")
    chain, key = tmp_path / "server.pem", tmp_path / "server.key"
    shutil.copy(first[0], chain)
    shutil.copy(first[1], key)
    with Serving(says_who_asks, tls=(chain, key)) as served, caplog.at_level(logging.INFO, "edgewright"):
        url = served.address.url
        assert answers(url, first[0]) == 0

        shutil.copy(second[0], chain)
        wait(lambda: "belong together" in caplog.text or "cannot use the certificate" in caplog.text)
        assert answers(url, first[0]) == 0, "the chain alone is of no use"
        shutil.copy(second[1], key)
        wait(lambda: answers(url, second[0]) == 0)

    warned = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warned) == 1, "it is said once"
    assert "still in use" in warned[0].getMessage()


def test_authorities_that_come_later_are_trusted_without_a_restart(tmp_path: Path) -> None:
    server, device = self_signed(tmp_path, "server"), self_signed(tmp_path, "device")
    known: list[bytes] = []
    with Serving(says_who_asks, tls=server, clients=lambda: b"".join(known)) as served:
        assert answers(served.address.url, server[0], device) == 0, "nobody asks for it"

        known.append(device[0].read_bytes())
        wait(lambda: answers(served.address.url, server[0], device) == 1)
        assert answers(served.address.url, server[0]) == 0, "who shows none is let in as before"
        assert answers(served.address.url, server[0], self_signed(tmp_path, "stranger")) is None


def test_authorities_that_cannot_be_used_are_told_and_nothing_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, device = self_signed(tmp_path, "server"), self_signed(tmp_path, "device")
    known: list[bytes] = []
    with Serving(says_who_asks, tls=server, clients=lambda: b"".join(known)) as served:
        for damaged in (b"no certificate", b"\xff"):
            caplog.clear()
            known[:] = [damaged]
            wait(lambda: "the authorities of devices cannot be used" in caplog.text)
        assert answers(served.address.url, server[0], device) == 0

        known[:] = [device[0].read_bytes()]
        wait(lambda: answers(served.address.url, server[0], device) == 1)
