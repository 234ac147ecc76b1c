"""A bounded HTTP client for load: each of so many connections asks again as soon as it was answered.

``python -m benchmarks.http_load polls URL CONNECTIONS SECONDS [ETAG]`` asks for one file;
``python -m benchmarks.http_load reports URL CONNECTIONS SECONDS`` sends reports of devices that count up. Both are
processes of their own, and write JSON: how many were answered how, the latencies, and for reports the last one of each
device that was acknowledged.
"""

import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

DEVICES_PER_CONNECTION = 32
_RECEIVE = 1 << 16
_DIGEST = "sha256:" + "a" * 64
_REPORT = (
    '{{"reports":[{{"device":"{device}","sequence":{sequence},"sentAt":"{at}","agentVersion":"0.1.0",'
    '"deviceClass":"lane","assignmentVersion":3,"models":[{{"model":"reader","phase":"verified","release":"'
    + _DIGEST
    + '","installed":"'
    + _DIGEST
    + '","active":"'
    + _DIGEST
    + '","activeRelease":"'
    + _DIGEST
    + '","verified":"'
    + _DIGEST
    + '","probe":{{"passed":true,"samples":16,"maxError":0.001,"atol":0.05,"latencyP95Ms":1.5,"runtime":'
    '"onnxruntime 1.20.0 CPUExecutionProvider"}},"since":"{at}"}}]}}]}}'
)


@dataclass
class Connection:
    """One connection, with one request under way."""

    socket: socket.socket
    number: int
    asked: int = 0
    at: float = 0.0
    got: bytes = b""


@dataclass
class Load:
    """What came of it."""

    statuses: Counter[int] = field(default_factory=Counter)
    latencies: list[float] = field(default_factory=list)
    acknowledged: dict[str, int] = field(default_factory=dict)


def drive(url: str, connections: int, seconds: float, request: Callable[[int, int], bytes], load: Load) -> float:
    """Ask for so many seconds; gives how long it took. ``request`` makes a connection's n-th request."""
    where = urlsplit(url)
    chosen = selectors.DefaultSelector()
    opened = []
    for number in range(connections):
        made = socket.create_connection((where.hostname or "", where.port or 80), timeout=10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(made, number)
        opened.append(connection)
        chosen.register(made, selectors.EVENT_READ, connection)
    begun = time.perf_counter()
    until = begun + seconds
    for connection in opened:
        _ask(connection, request)
    busy = connections
    while busy:
        for key, _ in chosen.select(timeout=10):
            busy -= _hear(key.data, request, until, load)
    took = time.perf_counter() - begun
    for connection in opened:
        connection.socket.close()
    return took


def _ask(connection: Connection, request: Callable[[int, int], bytes]) -> None:
    connection.asked += 1
    connection.at = time.perf_counter()
    connection.socket.sendall(request(connection.number, connection.asked))


def _hear(connection: Connection, request: Callable[[int, int], bytes], until: float, load: Load) -> bool:
    """Read; ask again when the answer is whole; whether this connection is done.

    Raises:
        RuntimeError: The server closed the connection.
    """
    piece = connection.socket.recv(_RECEIVE)
    if not piece:
        raise RuntimeError("the server closed a connection")
    connection.got += piece
    status = _whole(connection.got)
    if status is None:
        return False
    now = time.perf_counter()
    load.statuses[status] += 1
    load.latencies.append(now - connection.at)
    if status == 200:
        load.acknowledged[device_of(connection.number, connection.asked)] = connection.asked
    connection.got = b""
    if now >= until:
        return True
    _ask(connection, request)
    return False


def _whole(answer: bytes) -> int | None:
    """The status of an answer, once all of it is there."""
    head, found, body = answer.partition(b"\r\n\r\n")
    if not found:
        return None
    status = int(head[9:12])
    lower = head.lower()
    at = lower.find(b"content-length: ")
    length = 0 if at < 0 or status == 304 else int(lower[at + 16 :].split(b"\r\n", 1)[0])
    return status if len(body) >= length else None


def device_of(connection: int, asked: int) -> str:
    """Name the device that a connection's n-th report is of."""
    return f"d{connection:03}-{asked % DEVICES_PER_CONNECTION:02}"


def poll_of(url: str, etag: str) -> Callable[[int, int], bytes]:
    """Make the requests of polls."""
    where = urlsplit(url)
    condition = f"If-None-Match: {etag}\r\n" if etag else ""
    whole = f"GET {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\n{condition}\r\n".encode()
    return lambda _connection, _asked: whole


def report_of(url: str) -> Callable[[int, int], bytes]:
    """Make the requests of reports."""
    where = urlsplit(url)
    head = f"POST {where.path} HTTP/1.1\r\nHost: {where.netloc}\r\nContent-Type: application/json\r\n"

    def request(connection: int, asked: int) -> bytes:
        device = device_of(connection, asked)
        body = _REPORT.format(device=device, sequence=asked, at="2026-03-01T12:00:00Z")
        return f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode()

    return request


def main() -> None:
    """Drive what the command line names."""
    kind, url, connections, seconds, *etag = sys.argv[1:]
    request = report_of(url) if kind == "reports" else poll_of(url, etag[0] if etag else "")
    load = Load()
    took = drive(url, int(connections), float(seconds), request, load)
    load.latencies.sort()
    found: dict[str, Any] = {
        "seconds": took,
        "statuses": load.statuses,
        "p50": load.latencies[len(load.latencies) // 2],
        "p99": load.latencies[len(load.latencies) * 99 // 100],
        "acknowledged": load.acknowledged if kind == "reports" else {},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
