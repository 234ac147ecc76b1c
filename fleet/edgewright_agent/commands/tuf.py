"""``tuf``: the agent's way of trusting a repository, as a command line of its own. Called by ``main``.

It takes any TUF repository, in the form in which public conformance suites drive a client: ``init``, ``refresh`` and
``download``, with 0 and 1 as exit codes. Trusted metadata is kept as it was served, under names without versions.
Source: https://github.com/theupdateframework/tuf-conformance, CLIENT-CLI.md
"""

import argparse
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from edgewright_agent.durable import Disk
from edgewright_agent.errors import AgentError, NotFound, SettingsError, Transient, local_error
from edgewright_agent.http.urls import is_http, problem_of_url
from edgewright_agent.repository.transport import RepositoryReader, file_url, open_repository
from edgewright_agent.repository.trust import TrustedRepository, check_root
from edgewright_wire.layout import METADATA, TARGETS

ANCHOR = "initial_root"
"""The root metadata that the client was set up with; everything is verified from there on, each time."""
TIMEOUT = 20.0
"""Seconds, as in the agent's settings."""


def execute(options: argparse.Namespace) -> int:
    """Carry one of its commands out."""
    try:
        match options.verb:
            case "init":
                _init(options.metadata_dir, options.trusted_root, Disk())
            case "refresh":
                _repository(options).refresh()
            case _:
                _download(options)
    except AgentError as error:
        sys.stderr.write("".join(f"error: {line}\n" for line in error.message.splitlines()))
        return 1
    return 0


def _init(directory: Path, root: Path, disk: Disk) -> None:
    try:
        data = root.read_bytes()
    except OSError as error:
        raise SettingsError(f"{root}: cannot be read: {error}") from error
    check_root(data, str(root))
    try:
        disk.make_directory(directory.absolute())
        disk.write(directory / ANCHOR, data)
        disk.write(directory / "root.json", data)
    except OSError as error:
        raise local_error(error, f"writing into {directory}") from error


def _download(options: argparse.Namespace) -> None:
    repository, disk = _repository(options), Disk()
    repository.refresh()
    problems = []
    for name in options.target_name:
        try:
            repository.fetch_target(name, options.target_dir.absolute() / quote(name, safe=""), disk)
        except Transient as error:
            problems.append(error.message)
    if problems:
        raise Transient("DownloadFailed", "\n".join(problems))


def _repository(options: argparse.Namespace) -> TrustedRepository:
    directory: Path = options.metadata_dir
    wanted = {"--metadata-url": options.metadata_url}
    if options.verb == "download":
        wanted |= {
            "--target-name": options.target_name,
            "--target-dir": options.target_dir,
            "--target-base-url": options.target_base_url,
        }
    if missing := [name for name, value in wanted.items() if not value]:
        raise SettingsError(f"{options.verb} needs {', '.join(missing)}, before the word {options.verb}")
    try:
        root = (directory / ANCHOR).read_bytes()
    except OSError as error:
        raise SettingsError(
            f"{directory}: cannot be read ({error}); set it up with: tuf --metadata-dir … init"
        ) from error
    places = {METADATA: _open(options.metadata_url)}
    if options.target_base_url:
        places[TARGETS] = _open(options.target_base_url)
    return TrustedRepository(directory, root, _SplitRepository(places), lambda: datetime.now(UTC))


def _open(url: str) -> RepositoryReader:
    if not is_http(url):
        return open_repository(file_url(url))
    from edgewright_agent.http.client import HttpClient
    from edgewright_agent.repository.http_transport import HttpRepository

    if problem := problem_of_url(url):
        raise SettingsError(f"{url}: {problem}")
    return HttpRepository(url, HttpClient("RepositoryUnreachable", TIMEOUT))


class _SplitRepository:
    """A repository whose metadata and targets are not in one place."""

    def __init__(self, places: dict[str, RepositoryReader]) -> None:
        self._places = places

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """As in RepositoryReader."""
        kind, _, rest = path.partition("/")
        if kind not in self._places:
            raise NotFound("NotFound", f"{path}: no address was given for it")
        return self._places[kind].read(rest, offset)
