"""Polls: how many devices can ask whether there is something new, beside nginx serving the same file.

Called by ``devices``. Driven by wrk where it is installed, else by ``http_load``.
"""

import json
import re
import shutil
import statistics
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import peer
from benchmarks.devices.served import cpu_seconds

CONNECTIONS = 64
_TIMESTAMP = "metadata/timestamp.json"
_WRK = re.compile(r"(\d+) requests in")
_WRK_RATE = re.compile(r"Requests/sec:\s+([0-9.]+)")


@dataclass(frozen=True, slots=True)
class Rate:
    """How quickly one server answers one kind of poll; medians."""

    per_second: float
    microseconds: float
    """Of its processor, for each."""


@dataclass(frozen=True, slots=True)
class Polls:
    """What was measured."""

    client: str
    whole: Rate
    unchanged: Rate
    nginx_whole: Rate | None
    nginx_unchanged: Rate | None
    """None where nginx is not installed."""


def measure(url: str, pid: int, beside: tuple[int, str] | None, seconds: float, times: int) -> Polls:
    """Measure both servers in turns.

    Args:
        url: Where agents ask the controller.
        pid: The controller's process.
        beside: nginx's process and address.
        seconds: How long to ask, each time.
        times: How often.
    """
    servers = [(f"{url}/repository/{_TIMESTAMP}", pid)]
    if beside is not None:
        servers.append((f"{beside[1]}/{_TIMESTAMP}", beside[0]))
    kinds = [(where, server, tag) for where, server in servers for tag in ("", _tag(where))]
    found: list[list[Rate]] = [[] for _ in kinds]
    for _ in range(times):
        for at, (where, server, tag) in enumerate(kinds):
            found[at].append(_rate(where, server, tag, seconds))
    rates = [_median(each) for each in found]
    others = (rates[2], rates[3]) if beside is not None else (None, None)
    return Polls("wrk" if shutil.which("wrk") else "the benchmark's own client", rates[0], rates[1], *others)


def _rate(url: str, pid: int, tag: str, seconds: float) -> Rate:
    drive: Callable[[str, str, float], tuple[int, float]] = _by_wrk if shutil.which("wrk") else _by_ourselves
    before = cpu_seconds(pid)
    requests, per_second = drive(url, tag, seconds)
    return Rate(per_second, 1e6 * (cpu_seconds(pid) - before) / requests)


def _by_wrk(url: str, tag: str, seconds: float) -> tuple[int, float]:
    header = ["-H", f"If-None-Match: {tag}"] if tag else []
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{max(1, round(seconds))}s", *header, url]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    requests, rate = _WRK.search(said), _WRK_RATE.search(said)
    if requests is None or rate is None or "Non-2xx or 3xx" in said:
        raise RuntimeError(f"wrk did not measure {url}:\n{said}")
    return int(requests[1]), float(rate[1])


def _by_ourselves(url: str, tag: str, seconds: float) -> tuple[int, float]:
    command = [sys.executable, "-m", "benchmarks.http_load", "polls", url, str(CONNECTIONS), str(seconds), tag]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(peer.ROOT))
    said = json.loads(done.stdout)
    if said["statuses"].keys() != {"304" if tag else "200"}:
        raise RuntimeError(f"{url} answered {said['statuses']}")
    requests = sum(said["statuses"].values())
    return requests, requests / said["seconds"]


def _tag(url: str) -> str:
    with urllib.request.urlopen(url) as answer:
        return str(answer.headers["ETag"])


def _median(rates: list[Rate]) -> Rate:
    return Rate(
        statistics.median(rate.per_second for rate in rates), statistics.median(rate.microseconds for rate in rates)
    )
