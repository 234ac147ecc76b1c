"""nginx in front of a controller, configured as docs/how-to/enroll-devices.md says: the blocks are read from there."""

import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from clients import require_client
from paths import ROOT
from servers.static_servers import answers

DOCUMENT = ROOT / "docs/how-to/enroll-devices.md"
_BLOCK = re.compile(r"^```nginx\n(.*?)^```$", re.M | re.S)
_FRAME = """
daemon off; master_process off; pid {home}/pid; error_log {home}/error.log warn;
events {{ worker_connections 512; }}
http {{
  log_format cached '$request_method $uri $status $upstream_cache_status';
  access_log {home}/access.log cached;
  client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi; scgi_temp_path {home}/scgi;
{http}
}}
"""


def documented(word: str) -> str:
    """The block of the documentation with this word in it."""
    (found,) = [block for block in _BLOCK.findall(DOCUMENT.read_text()) if word in block]
    return str(found)


@contextmanager
def nginx_as_documented(home: Path, block: str, changes: Mapping[str, str]) -> Iterator[int]:
    """Run nginx with a block in which names, files and the port are this machine's; yields the port.

    ``changes`` replace what is in the block, and all of it must be there; ``{port}`` stands for the port.
    """
    program = require_client("nginx")
    home.mkdir(parents=True, exist_ok=True)
    for _ in range(5):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        text = block
        for old, new in changes.items():
            assert old in text, f"{old!r} is not in the documentation any more"
            text = text.replace(old, new.replace("{port}", str(port)))
        config = home / "nginx.conf"
        config.write_text(_FRAME.format(home=home, http=text))
        with subprocess.Popen(
            [program, "-p", str(home), "-c", str(config), "-e", str(home / "error.log")], stderr=subprocess.PIPE
        ) as process:
            try:
                if answers(process, port):
                    yield port
                    return
            finally:
                process.terminate()
    raise AssertionError(f"nginx does not start: {(home / 'error.log').read_text()}")
