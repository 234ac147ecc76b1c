"""A real PostgreSQL server for tests, on a socket in a folder of its own. Use it through the fixture ``postgresql``.

Nothing it writes needs to outlive the tests, so it does not wait for the disk.
"""

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from urllib.parse import quote

from clients import require_client

_QUICK = {
    "fsync": "off",
    "full_page_writes": "off",
    "synchronous_commit": "off",
    "listen_addresses": "",
    "shared_buffers": "16MB",
    "max_connections": "60",
    "lc_messages": "C",
}
_RULES = "local all guarded scram-sha-256\nlocal all all trust\n"
PASSWORD = "hunter2"
"""Of the user ``guarded``, the only one who needs one."""


class PostgresqlServer:
    """One server; ``stop`` and ``start`` keep what is stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._user = _unprivileged()
        self._process: subprocess.Popen[str] | None = None
        self._log: list[str] = []

    def make(self) -> None:
        """Make the data folder."""
        initdb = [
            require_client("initdb"),
            "--no-sync",
            "--no-instructions",
            "-A",
            "trust",
            "-U",
            "owner",
            "-E",
            "UTF8",
        ]
        shutil.chown(self.folder, self._user or -1)
        made = subprocess.run(
            [*initdb, "--locale=C", "-D", str(self._data)],
            user=self._user,
            group=_group(self._user),
            extra_groups=None if self._user is None else [],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        (self._data / "pg_hba.conf").write_text(_RULES)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        settings = [f"-c{name}={value}" for name, value in _QUICK.items()]
        self._process = subprocess.Popen(
            [require_client("postgres"), "-D", str(self._data), "-k", str(self.folder), *settings],
            user=self._user,
            group=_group(self._user),
            extra_groups=None if self._user is None else [],
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        ready = Event()
        Thread(target=self._listen, args=(self._process, ready), daemon=True).start()
        assert ready.wait(60), "".join(self._log)
        assert self._process.poll() is None, "".join(self._log)

    def stop(self) -> None:
        """End it at once; open transactions are rolled back and connections dropped."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
            self._process = None

    def url(self, user: str = "owner", password: str = "", database: str = "postgres") -> str:
        """The URL of a database."""
        who = f"{user}:{password}" if password else user
        return f"postgresql://{who}@/{database}?host={quote(str(self.folder), safe='')}"

    def fresh(self) -> str:
        """The URL of an empty schema, in which tables are made and looked for."""
        schema = "t" + secrets.token_hex(8)
        self.execute(f"CREATE SCHEMA {schema}")
        return f"{self.url()}&options=-csearch_path%3D{schema}"

    def execute(self, *statements: str) -> None:
        """Run statements as the owner."""
        import psycopg  # conftest imports this module for every test

        with psycopg.connect(self.url(), autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    @property
    def _data(self) -> Path:
        return self.folder / "data"

    def _listen(self, process: "subprocess.Popen[str]", ready: Event) -> None:
        assert process.stderr is not None
        with process.stderr as lines:
            for line in lines:
                self._log.append(line)
                if "ready to accept connections" in line:
                    ready.set()
        ready.set()


@contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """Start a server; it is ended, and what it stored removed, at the end."""
    require_client("postgres")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short, for a socket's path has 107 bytes; and reachable for the user
    try:
        server = PostgresqlServer(folder)
        server.make()
        server.start()
        try:
            server.execute(f"CREATE ROLE guarded LOGIN PASSWORD '{PASSWORD}'")
            yield server
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder)


def _unprivileged() -> str | None:
    """Whom to run the server as: it refuses to run as root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


def _group(user: str | None) -> int | None:
    return None if user is None else pwd.getpwnam(user).pw_gid
