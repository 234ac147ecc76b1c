"""Dataset sources that are nowhere: not in the revision, not in the work tree. Called by ``validate``.

What is outside Git is no part of a snapshot, so whether it is there is asked anew each time.
"""

from collections.abc import Iterator
from pathlib import Path

from edgewright.core.snapshot import Resource, Snapshot
from edgewright.core.suggestions import suggestion
from edgewright.errors import Problem
from edgewright.ports import SnapshotSource
from edgewright.source.specs.positions import Positions, Written
from edgewright.source.specs.references import named_paths
from edgewright_schemas.dataset import Dataset


def missing_sources(source: SnapshotSource, desired: Snapshot, root: Path) -> tuple[Problem, ...]:
    """List the datasets whose files are not there. A pinned one may have been built elsewhere, and is left alone.

    Args:
        source: Where ``desired`` was read from.
        desired: What is checked.
        root: The folder that relative paths outside Git are looked for in.

    Raises:
        SourceError: A spec cannot be read again.
    """
    found: list[Problem] = []
    for resource in desired.resources.values():
        document = resource.document
        if isinstance(document, Dataset) and document.spec.source.digest is None:
            for named in named_paths(document):
                is_there = named.path in desired.content or (root / named.path).exists()
                if named.role == "content" and not is_there:
                    at = _locate(source, desired.revision, resource, named.field)
                    message = f"spec.source.uri: there is no {named.path}, neither in this revision nor beside it"
                    hint = _nearest(root, named.path) or "add the file, or write a URL"
                    found.append(Problem(at.path, at.line, at.column, message, hint))
    return tuple(found)


def _locate(source: SnapshotSource, revision: str, resource: Resource, field: tuple[str | int, ...]) -> Written:
    places = [Written(at.path, at.line, at.column) for at in (resource.location, *resource.overlays)]
    positions = Positions(lambda path, _: source.read(revision, path))
    return positions.locate(places[0], field, overlays=places[1:])


def _nearest(root: Path, path: str) -> str:
    """Suggest the path that was meant: what is there in the first folder on its way that is not."""
    folder = root
    for part in path.split("/"):
        if not (folder / part).exists():
            hint = suggestion(part, _names(folder), limit=0)
            if not hint.startswith("did you mean"):
                return ""
            name = hint.removeprefix("did you mean ").removesuffix("?")
            return f"did you mean {(folder / name).relative_to(root).as_posix()}?"
        folder /= part
    return ""


def _names(folder: Path) -> Iterator[str]:
    if folder.is_dir():
        yield from (entry.name for entry in folder.iterdir() if entry.name != ".git")
