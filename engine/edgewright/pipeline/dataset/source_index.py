"""Looks at dataset sources outside Git: digests what is there, and reads again only what changed.

``cli`` and ``server`` wire SourceIndex as the ports.SourceObserver that plans are made with.

A local source's digest is the sha256 of its bytes (a file), or of the sorted list of its files with their sha256 (a
folder). A remote one's is that of its files' names, sizes and entity tags or the like, which the server tells without
sending them. What a local file's stat says is kept beside its digest, so that a file whose stat is the same is not
read again. As Git does, a file that changed within two seconds of being looked at is not trusted to show the next
change in its stat, and is read again.
"""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from edgewright.core.planning.observed import SourceState
from edgewright.durable import make_folder, write_atomic
from edgewright.errors import EdgewrightError, StorageFull
from edgewright.kept import read_ours
from edgewright.pipeline.dataset.locations import Location, local_path, locate
from edgewright_schemas.dataset import Source
from edgewright_wire.canonical import digest_json

FORMAT = 1
_RACY_NS = 2_000_000_000
_STRONG = ("ETag", "etag", "md5Hash", "md5", "content_md5", "crc32c", "generation", "VersionId", "version_id")
_WEAK = ("LastModified", "last_modified", "updated", "mtime", "modified", "created")

Stat = tuple[int, int, int, int]
"""Size, mtime in ns, ctime in ns, inode."""


class SourceIndex:
    """Observes sources, with an index of what was seen before; implements ports.SourceObserver."""

    def __init__(self, folder: Path, cache: Path, *, clock: Callable[[], int] = time.time_ns) -> None:
        """Make an observer.

        Args:
            folder: Where relative paths are looked for: the repository's work tree.
            cache: A folder for the index; it may be deleted at any time, at the price of reading everything again.
            clock: Tells the time in ns since the epoch.
        """
        self._folder = folder
        self._cache = cache
        self._clock = clock

    def observe(self, source: Source) -> SourceState:
        """Digest what is at a source now; what is wrong is told in ``problem``."""
        if source.format == "python":
            return SourceState(None, "a Python source is part of the repository")
        path = local_path(source.uri, self._folder)
        try:
            if path is not None:
                return SourceState(self._local(path.absolute()))
            return SourceState(remote_digest(locate(source.uri)))
        except EdgewrightError as error:
            return SourceState(None, str(error))
        except FileNotFoundError as error:
            problem = f"{source.uri}: {error.filename or source.uri} is not there"
            return SourceState(None, problem, missing=path is not None)
        except OSError as error:
            return SourceState(None, f"{source.uri} cannot be read: {error.strerror or error}")

    def _local(self, path: Path) -> str:
        now = self._clock()
        listing = _stats(path)
        summary = _summary(listing)
        name = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()[:32]
        head, entries = self._cache / f"{name}.json", self._cache / f"{name}.entries"
        before = _read_head(head)
        if before is not None and before["summary"] == summary and not before["untrusted"]:
            return str(before["digest"])
        known = _read_entries(entries)
        digests = _digests(path, listing, known)
        digest = _whole_digest(digests)
        settled = now - _RACY_NS
        trusted = {
            name: (stat, digests[name])
            for name, stat in listing.items()
            if max(stat[1], stat[2]) < settled or (name in known and known[name][0] == stat)
        }
        value = {"format": FORMAT, "summary": summary, "digest": digest, "untrusted": len(listing) - len(trusted)}
        with suppress(OSError, StorageFull):  # an index that cannot be kept costs time, never a plan
            make_folder(self._cache)
            # Entries before the head: after a crash between the two, the head is old and says to look closer.
            write_atomic(entries, "".join(json.dumps([n, *s, d]) + "\n" for n, (s, d) in trusted.items()).encode())
            write_atomic(head, json.dumps(value).encode())
        return digest


def local_digest(path: Path) -> str:
    """Digest a local file or folder by reading all of it.

    Raises:
        OSError: It cannot be read.
    """
    listing = _stats(path)
    return _whole_digest(_digests(path, listing, {}))


def remote_digest(location: Location) -> str:
    """Digest a remote file or folder by what its server says about it; one that says too little is read.

    Raises:
        SourceUnavailable: It did not answer.
        OSError: It cannot be read.
    """
    infos = location.listing() if location.is_folder() else {"": location.info()}
    return digest_json([[name, _identity(location, name, infos[name])] for name in sorted(infos)])


def _identity(location: Location, name: str, info: dict[str, Any]) -> list[str]:
    for keys in (_STRONG, _WEAK):
        found = next((str(info[key]) for key in keys if info.get(key)), None)
        if found is not None:
            return [str(info.get("size")), found.strip('"')]
    with location.open(name) as file:
        return [str(info.get("size")), hashlib.file_digest(file, "sha256").hexdigest()]


def _stats(path: Path) -> dict[str, Stat]:
    """Stat every file below a folder, by relative name, sorted; a single file has the name ``""``."""
    return {"": _stat_of(path.stat())} if path.is_file() else dict(sorted(_listing(path)))


def _listing(root: Path) -> Iterator[tuple[str, Stat]]:
    """Yield every file below a folder, links followed, as its relative name and stat."""
    pending = [("", frozenset({_identity_of(root)}))]
    base = str(root)
    while pending:
        prefix, above = pending.pop()
        with os.scandir(f"{base}/{prefix}") as entries:
            for entry in entries:
                name = prefix + entry.name
                if entry.is_dir():
                    identity = _identity_of(entry)
                    if identity not in above:  # a link to a folder above would never end
                        pending.append((f"{name}/", above | {identity}))
                else:
                    yield name, _stat_of(entry.stat())


def _identity_of(folder: "Path | os.DirEntry[str]") -> tuple[int, int]:
    stat = folder.stat()
    return stat.st_dev, stat.st_ino


def _stat_of(stat: os.stat_result) -> Stat:
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


def _summary(listing: dict[str, Stat]) -> str:
    return hashlib.blake2b(repr(list(listing.items())).encode("utf-8", "surrogateescape"), digest_size=32).hexdigest()


def _digests(root: Path, listing: dict[str, Stat], known: dict[str, tuple[Stat, str]]) -> dict[str, str]:
    """Return every file's sha256, reading those that are new or whose stat changed."""
    digests = {name: known[name][1] for name, stat in listing.items() if name in known and known[name][0] == stat}
    changed = [name for name in listing if name not in digests]

    def read(names: Sequence[str]) -> dict[str, str]:
        return {name: _sha256(f"{root}/{name}" if name else str(root)) for name in names}

    if changed:
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            for part in pool.map(read, [changed[at : at + 256] for at in range(0, len(changed), 256)]):
                digests.update(part)
    return digests


def _sha256(path: str) -> str:
    with open(path, "rb") as stream:  # noqa: PTH123 - a Path for each of 100,000 files costs as much as the read
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _whole_digest(digests: dict[str, str]) -> str:
    """Digest a file (its only name is empty) or a folder."""
    if list(digests) == [""]:
        return f"sha256:{digests['']}"
    whole = hashlib.sha256()
    for name in sorted(digests):
        whole.update(name.encode("utf-8", "surrogateescape") + b"\0" + digests[name].encode() + b"\n")
    return f"sha256:{whole.hexdigest()}"


def _read_head(path: Path) -> dict[str, Any] | None:
    try:
        value = json.loads(read_ours(path))
        return value if value["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_entries(path: Path) -> dict[str, tuple[Stat, str]]:
    """Read the index; one that is missing or damaged is as good as none."""
    try:
        rows = [json.loads(line) for line in read_ours(path).splitlines()]
        return {name: ((size, mtime, ctime, inode), digest) for name, size, mtime, ctime, inode, digest in rows}
    except (OSError, ValueError, TypeError):
        return {}
