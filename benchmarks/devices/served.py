"""A controller with nothing to train, and nginx beside it: what devices' calls are measured against.

Called by ``devices_polls`` and ``devices_reports``.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.controller.served import Served

_PATIENCE = 30.0
_REPOSITORY = """\
apiVersion: edgewright.dev/v1alpha1
kind: Repository
metadata: {name: devices}
spec: {paths: [fleets]}
"""
_FLEET = """\
apiVersion: edgewright.dev/v1alpha1
kind: Fleet
metadata: {name: lanes}
spec: {selector: {matchLabels: {region: eu}}}
"""
_NGINX = """\
daemon off; master_process off; worker_processes 1; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 512; }}
http {{
  access_log off; keepalive_requests 1000000000; sendfile on; tcp_nopush on; open_file_cache max=100;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


def prepare(folder: Path) -> Path:
    """Make a repository with keys and an empty published repository; gives its folder."""
    work = folder / "devices"
    (work / "fleets").mkdir(parents=True)
    (work / "edgewright.yaml").write_text(_REPOSITORY)
    (work / "fleets/lanes.yaml").write_text(_FLEET)
    for command in (["init", "-q", "-b", "main"], ["add", "."], ["commit", "-q", "-m", "Declare a fleet"]):
        named = ["-c", "user.name=bench", "-c", "user.email=bench@example.com"]
        subprocess.run(["git", *named, *command], cwd=work, check=True)
    program = Path(sys.executable).parent / "edgewright"
    subprocess.run([program, "init", ".", "--keys-only"], cwd=work, check=True, stdout=subprocess.DEVNULL)
    return work


@contextmanager
def controller(work: Path) -> Iterator[tuple[Served, str]]:
    """Run ``edgewright serve``; gives it, and where agents ask."""
    with Served(str(work), work / ".edgewright", {}, ("--insecure-devices",)) as served:
        url = f"{served.url}/agent/default"
        _until_ok(f"{url}/repository/metadata/timestamp.json")
        yield served, url


@contextmanager
def nginx(folder: Path, root: Path) -> Iterator[tuple[int, str] | None]:
    """Run nginx over a folder; gives its process and address, or None where it is not installed."""
    program = next((p for p in ("/usr/sbin/nginx", "/usr/bin/nginx") if Path(p).exists()), None)
    if program is None:
        yield None
        return
    home = folder / "nginx"
    home.mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    config = home / "nginx.conf"
    config.write_text(_NGINX.format(home=home, port=port, root=root))
    process = subprocess.Popen([program, "-p", str(home), "-c", str(config), "-e", str(home / "error.log")])
    try:
        url = f"http://127.0.0.1:{port}"
        _until_ok(f"{url}/metadata/timestamp.json")
        yield process.pid, url
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def cpu_seconds(pid: int) -> float:
    """Processor time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _until_ok(url: str) -> None:
    import urllib.error
    import urllib.request

    until = time.monotonic() + _PATIENCE
    while True:
        try:
            with urllib.request.urlopen(url, timeout=_PATIENCE):
                return
        except (urllib.error.URLError, ConnectionError) as error:
            if time.monotonic() > until:
                raise RuntimeError(f"{url} is not served: {error}") from error
            time.sleep(0.05)
