"""A tree of files by Git object id, of commits and work folders. Called by ``assemble``, ``commits``, ``worktree``.

Everything below works on ids: what has the same id is the same, so whatever was found out about a folder once is
looked up instead of walked.
"""

import hashlib
import json
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from edgewright.core.suggestions import suggestion
from edgewright.errors import SourceError
from edgewright.source.bounds import check_entries
from edgewright.source.cache import Cache
from edgewright.source.paths import PathRefused, normalise
from edgewright.source.pointers import refuse_pointer

_MAX_FOLDERS = 200
_SPECS = (".yaml", ".yml")
SUBMODULE_MODE = 0o160000
_MAX_LINKS = 40
"""As many as Linux follows in one path."""
_LONGEST_LINK = 4096


class Entry(NamedTuple):
    """A name in a folder."""

    mode: int
    id: str
    name: str

    @property
    def is_folder(self) -> bool:
        """Return whether it is a folder."""
        return stat.S_ISDIR(self.mode)

    @property
    def is_link(self) -> bool:
        """Return whether it is a symbolic link."""
        return stat.S_ISLNK(self.mode)

    @property
    def is_file(self) -> bool:
        """Return whether it is a regular file."""
        return stat.S_ISREG(self.mode)


class Objects(Protocol):
    """Reads objects by id."""

    def tree(self, tree_id: str) -> Sequence[Entry]:
        """List a folder.

        Raises:
            SourceError: It cannot be read.
        """
        ...

    def blob(self, blob_id: str, limit: int | None = None) -> bytes:
        """Read a file's bytes (a link's target); of one larger than ``limit``, the first ``limit + 1``.

        Raises:
            SourceError: They cannot be read, or are no longer those of the id.
        """
        ...

    def size(self, blob_id: str) -> int:
        """Return the number of a file's bytes, without reading them.

        Raises:
            SourceError: It cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Scan:
    """Specs and links below a folder; paths are relative to it."""

    specs: tuple[tuple[str, str], ...]
    """(path, blob id) of ``*.yaml`` and ``*.yml``, in any case of letters, outside hidden folders."""
    links: tuple[tuple[str, str], ...]
    """(path, blob id) of symbolic links anywhere."""


@dataclass(frozen=True, slots=True)
class Tree:
    """The files of one revision, read through ids."""

    objects: Objects
    root: str
    """The id of the root folder."""
    cache: Cache

    def find(self, path: str) -> Entry | None:
        """Look a path up, following links that stay inside; None when nothing is there.

        Raises:
            PathRefused: The path, or a link on it, leads out of the repository.
        """
        return self._find(normalise(path).split("/"), path)

    def _find(self, todo: list[str], path: str) -> Entry | None:
        todo = [part for part in todo if part][::-1]
        trail = [Entry(stat.S_IFDIR, self.root, "")]
        links = 0
        while todo:
            part = todo.pop()
            if part == "..":
                if len(trail) == 1:
                    raise PathRefused(f"a link on {path!r} leads out of the repository", "copy the file in instead")
                trail.pop()
                continue
            if not trail[-1].is_folder:
                return None
            entry = next((e for e in self.objects.tree(trail[-1].id) if e.name == part), None)
            if entry is None:
                return None
            if not entry.is_link:
                trail.append(entry)
                continue
            links += 1
            if links > _MAX_LINKS:
                raise PathRefused(f"links on {path!r} lead in a circle", "remove one of them")
            target = self.objects.blob(entry.id, _LONGEST_LINK).decode("utf-8", "surrogateescape")
            if len(target) > _LONGEST_LINK:
                raise PathRefused(f"a link on {path!r} is longer than a path may be", "copy the file in instead")
            if target.startswith("/"):
                raise PathRefused(f"a link on {path!r} leads out of the repository", "copy the file in instead")
            todo.extend(step for step in reversed(target.split("/")) if step not in ("", "."))
        return trail[-1]

    def digest(self, path: str) -> str | None:
        """Digest a file or folder; None when it is not there.

        ``git:`` and the object's id. Below a folder that holds links, what they lead to is part of it.

        Raises:
            PathRefused: The path or a link below it leads out of the repository.
        """
        entry = self.find(path)
        if entry is None:
            return None
        links = self.scan(entry.id).links if entry.is_folder else ()
        if not links:
            return f"git:{entry.id}"
        base = normalise(path)
        targets = []
        for link, _ in links:
            target = self.find(f"{base}/{link}" if base else link)
            targets.append([link, target.id if target else None])
        text = json.dumps([entry.id, targets], separators=(",", ":"))
        return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"

    def read(self, path: str) -> bytes:
        """Read a file.

        Raises:
            SourceError: It is not there, is no file, or is a Git LFS pointer.
            PathRefused: As in find.
        """
        entry = self.find(path)
        if entry is None:
            raise SourceError(f"{path} is not in this revision", hint=self.suggest(path))
        if not entry.is_file:
            raise SourceError(f"{path} is no file")
        return refuse_pointer(path, self.objects.blob(entry.id))

    def suggest(self, path: str) -> str:
        """Write a hint that names the nearest path there is."""
        known = ""
        parts = normalise(path).split("/")
        for part in parts:
            folder = self.find(known)
            if folder is None or not folder.is_folder:
                return ""
            names = [entry.name for entry in self.objects.tree(folder.id)]
            if part not in names:
                hint = suggestion(part, names, limit=0)
                return (
                    hint.replace("did you mean ", f"did you mean {known}/" if known else "did you mean ")
                    if hint.startswith("did")
                    else f"there is no {part} in {known or 'the root'}"
                )
            known = f"{known}/{part}" if known else part
        return ""

    def scan(self, tree_id: str) -> Scan:
        """Find specs and links below a folder; a folder seen before is not walked again.

        Raises:
            SpecError: There is too much below it.
            SourceError: A folder cannot be read, or folders are nested too deep.
        """
        fresh: dict[str, str] = {}
        if self.cache.get("tree", tree_id) is None:
            check_entries(*self._count(tree_id, {}))
        found = self._scan(tree_id, fresh)
        self.cache.put("tree", fresh)
        return found

    def _count(self, tree_id: str, counted: dict[str, tuple[int, int, int]], depth: int = 0) -> tuple[int, int, int]:
        """Count entries, specs and links below a folder, each folder's once however often it is named."""
        if depth > _MAX_FOLDERS:
            raise SourceError(f"folders are nested deeper than {_MAX_FOLDERS} levels")
        if tree_id not in counted:
            entries = specs = links = 0
            for entry in self.objects.tree(tree_id):
                entries += 1
                links += entry.is_link
                specs += entry.is_file and entry.name.lower().endswith(_SPECS)
                if entry.is_folder:
                    below = self._count(entry.id, counted, depth + 1)
                    entries, links = entries + below[0], links + below[2]
                    specs += 0 if entry.name.startswith(".") else below[1]
            counted[tree_id] = entries, specs, links
        return counted[tree_id]

    def _scan(self, tree_id: str, fresh: dict[str, str], depth: int = 0) -> Scan:
        if depth > _MAX_FOLDERS:
            raise SourceError(f"folders are nested deeper than {_MAX_FOLDERS} levels")
        known = self.cache.get("tree", tree_id) or fresh.get(tree_id)
        if known is not None:
            specs, links = json.loads(known)
            return Scan(tuple(map(tuple, specs)), tuple(map(tuple, links)))
        specs_found: list[tuple[str, str]] = []
        links_found: list[tuple[str, str]] = []
        for entry in self.objects.tree(tree_id):
            if entry.is_folder:
                below = self._scan(entry.id, fresh, depth + 1)
                if not entry.name.startswith("."):
                    specs_found.extend((f"{entry.name}/{path}", blob) for path, blob in below.specs)
                links_found.extend((f"{entry.name}/{path}", blob) for path, blob in below.links)
            elif entry.is_link:
                links_found.append((entry.name, entry.id))
            elif entry.is_file and entry.name.lower().endswith(_SPECS):
                specs_found.append((entry.name, entry.id))
        fresh[tree_id] = json.dumps([specs_found, links_found], separators=(",", ":"))
        return Scan(tuple(specs_found), tuple(links_found))

    def files(self, path: str, *, depth: int = 0) -> Iterator[tuple[str, Entry]]:
        """List (path, entry) of every file at or below a path; a link is listed as what it leads to.

        Raises:
            SourceError: The path is not there, is a submodule, or links lead in a circle.
            PathRefused: As in find.
        """
        entry = self.find(path)
        if entry is None:
            raise SourceError(f"{path} is not in this revision", hint=self.suggest(path))
        if entry.mode == SUBMODULE_MODE:
            raise SourceError(f"{path} is a submodule; its files are in another repository", hint="copy them in")
        if depth > _MAX_FOLDERS:
            raise SourceError(f"folders at {path} are nested too deep, or links lead in a circle")
        base = normalise(path)
        if entry.is_file:
            yield base, entry
            return
        for child in self.objects.tree(entry.id):
            below = f"{base}/{child.name}" if base else child.name
            yield from self.files(below, depth=depth + 1)
