"""Two machines and a wire between them: network namespaces of this one, with a virtual cable to cut and to slow down.

Linux and root only. Names are unique, and gone afterwards. Programs run inside as processes of their own.
"""

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from clients import require_client, require_root

DEVICE_ADDRESS, SERVER_ADDRESS = "10.0.0.2", "10.0.0.1"
"""The same for each wire: nothing else is on it."""
PORT = 8080
RELAY_PORT = 8081

_NGINX = """
daemon off; master_process off; user root; pid {home}/pid; error_log {home}/error.log;
events {{ worker_connections 64; }}
http {{
  log_format asked escape=json '{{"path":"$uri","range":"$http_range","status":$status,"sent":$body_bytes_sent}}';
  access_log {home}/access.log asked;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
  send_timeout 3s; sendfile off;
  server {{ listen {address}:{port} sndbuf=64k; root {folder}; }}
}}
"""


@dataclass(frozen=True)
class Asked:
    """One request the server has answered, or given up answering."""

    path: str
    offset: int
    status: int
    sent: int
    """Bytes of the body that left the server."""


class Wire:
    """A device and a server, with nothing but a cable in between."""

    def __init__(self, token: str) -> None:
        self._device, self._server = f"ew{token}d", f"ew{token}s"
        self._plug = f"ew{token}"

    def on_device(self, *command: str) -> list[str]:
        """A command line that runs on the device."""
        return ["ip", "netns", "exec", self._device, *command]

    def on_server(self, *command: str) -> list[str]:
        """A command line that runs on the server."""
        return ["ip", "netns", "exec", self._server, *command]

    def lay(self) -> None:
        """Connect the two."""
        plugs = {self._device: (f"{self._plug}d", DEVICE_ADDRESS), self._server: (f"{self._plug}s", SERVER_ADDRESS)}
        for namespace in plugs:
            _run("ip", "netns", "add", namespace)
        ends = [plug for plug, _ in plugs.values()]
        _run("ip", "link", "add", ends[0], "type", "veth", "peer", "name", ends[1])
        for namespace, (plug, address) in plugs.items():
            _run("ip", "link", "set", plug, "netns", namespace)
            _run("ip", "-n", namespace, "address", "add", f"{address}/24", "dev", plug)
            _run("ip", "-n", namespace, "link", "set", plug, "up")
            _run("ip", "-n", namespace, "link", "set", "lo", "up")

    def remove(self) -> None:
        """Take it all away; its processes have to be gone."""
        for namespace in (self._device, self._server):
            with suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "delete", namespace)

    def cut(self) -> None:
        """Pull the device's plug: nothing arrives any more, and nobody is told."""
        _run("ip", "-n", self._device, "link", "set", f"{self._plug}d", "down")

    def mend(self) -> None:
        """Put it back."""
        _run("ip", "-n", self._device, "link", "set", f"{self._plug}d", "up")

    def throttle(self, kbit: int, queue: str = "200ms") -> None:
        """Let the server send no faster; what does not fit into the queue is lost."""
        self._shape("tbf", "rate", f"{kbit}kbit", "burst", "16kb", "latency", queue)

    def spoil(self, delay_ms: int, loss_percent: int) -> bool:
        """Delay what the server sends, and lose some of it.

        Returns:
            Whether this kernel can.
        """
        try:
            self._shape("netem", "delay", f"{delay_ms}ms", "loss", f"{loss_percent}%", "limit", "10000")
        except subprocess.CalledProcessError:
            return False
        return True

    def unthrottle(self) -> None:
        """Let everything pass again."""
        _run("tc", "-n", self._server, "qdisc", "delete", "dev", f"{self._plug}s", "root")

    def lost(self) -> int:
        """Packets that were lost since the wire was shaped."""
        shown = _run("tc", "-n", self._server, "-s", "-j", "qdisc", "show", "dev", f"{self._plug}s")
        return sum(int(queue.get("drops", 0)) for queue in json.loads(shown))

    def _shape(self, *how: str) -> None:
        _run("tc", "-n", self._server, "qdisc", "replace", "dev", f"{self._plug}s", "root", *how)

    @contextmanager
    def serving(self, folder: Path, home: Path) -> Iterator["WebServer"]:
        """Run nginx on the server, over a folder."""
        home.mkdir(exist_ok=True)
        configuration = _NGINX.format(home=home, address=SERVER_ADDRESS, port=PORT, folder=folder)
        (home / "nginx.conf").write_text(configuration)
        program = require_client("nginx")
        command = [program, "-p", str(home), "-c", str(home / "nginx.conf"), "-e", str(home / "error.log")]
        server = WebServer(self, self.on_server(*command), home / "access.log")
        server.start()
        try:
            yield server
        finally:
            server.stop()

    @contextmanager
    def relaying(self, delay_ms: int) -> Iterator[str]:
        """Run a relay on the server that hands on each byte late, both ways; gives the URL to take instead."""
        where = [f"{SERVER_ADDRESS}:{RELAY_PORT}", f"{SERVER_ADDRESS}:{PORT}", str(delay_ms)]
        command = self.on_server(sys.executable, str(Path(__file__).with_name("slow_relay.py")), *where)
        with subprocess.Popen(command) as process:
            try:
                self.wait_for(RELAY_PORT, process)
                yield f"http://{SERVER_ADDRESS}:{RELAY_PORT}"
            finally:
                process.terminate()
                process.wait(20)

    def wait_for(self, port: int, process: "subprocess.Popen[bytes]") -> None:
        """Wait until something listens, as seen from the server itself."""
        look = (
            "import socket, time\n"
            f"for _ in range(1000):\n"
            "    try:\n"
            f"        socket.create_connection(('{SERVER_ADDRESS}', {port}), 5).close()\n"
            "        break\n"
            "    except OSError:\n"
            "        time.sleep(0.01)\n"
            "else:\n"
            "    raise SystemExit(1)\n"
        )
        done = subprocess.run(self.on_server(sys.executable, "-c", look), check=False, timeout=60)
        assert (done.returncode, process.poll()) == (0, None), "the server does not start"


class WebServer:
    """nginx, and what it wrote down."""

    url = f"http://{SERVER_ADDRESS}:{PORT}"

    def __init__(self, between: Wire, command: list[str], log: Path) -> None:
        self._wire = between
        self._command = command
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Come up, or come back."""
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)
        self._wire.wait_for(PORT, self._process)

    def stop(self) -> None:
        """Go away, in the middle of whatever it does."""
        assert self._process is not None
        self._process.terminate()
        self._process.wait(20)

    def asked(self, path: str) -> list[Asked]:
        """Requests for a file, in the order in which they ended."""
        lines = [json.loads(line) for line in self._log.read_text().splitlines()]
        return [
            Asked(
                line["path"], int(line["range"].removeprefix("bytes=").rstrip("-") or 0), line["status"], line["sent"]
            )
            for line in lines
            if line["path"] == f"/{path}"
        ]


@contextmanager
def wire() -> Iterator[Wire]:
    """Lay a wire; skips the test where this machine does not allow it (in CI, root has to be allowed)."""
    for program in ("ip", "tc"):
        require_client(program)
    require_root("make network namespaces", "unshare", "--net", "true")
    made = Wire(secrets.token_hex(4))
    try:
        made.lay()
        yield made
    finally:
        made.remove()


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode != 0:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout
