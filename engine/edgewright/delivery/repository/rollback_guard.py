"""What this machine remembers of the repositories it published: the version of each one's timestamp.

Devices refuse to go back. So a repository that is gone (a share that is not mounted), or was put back from an old copy,
must not be started again under the same keys without anybody noticing: all devices would stop taking updates.
The memory lies beside the keys, as ``repositories.json``; where that folder cannot be written, nothing is remembered.
Called by ``delivery.repository``.
"""

import contextlib
import json
from pathlib import Path

from edgewright import durable
from edgewright.errors import DeliveryError, DeliveryUnavailable, StorageFull

_NAME = "repositories.json"


def check(keys: Path, repository: Path, version: int) -> None:
    """Compare a repository's timestamp version (0: there is none) with what was published last.

    Raises:
        DeliveryUnavailable: There is none any more.
        DeliveryError: It is older.
    """
    last = _load(keys).get(str(repository.absolute()), 0)
    if last and not version:
        raise DeliveryUnavailable(
            f"the repository {repository} is gone; version {last} was published there",
            hint="mount or restore it. To start anew, with devices enrolled anew, remove"
            f" {keys / _NAME} and run it again",
        )
    if version < last:
        raise DeliveryError(
            f"the repository {repository} is at version {version}, but version {last} was published there,"
            " and devices refuse to go back",
            hint="it was put back from an old copy: restore the newest one, a mirror's for example",
        )


def note(keys: Path, repository: Path, version: int) -> None:
    """Remember the version that was published."""
    known = _load(keys)
    known[str(repository.absolute())] = version
    with contextlib.suppress(OSError, StorageFull):
        durable.write_atomic(keys / _NAME, json.dumps(known, indent=1, sort_keys=True).encode() + b"\n")


def _load(keys: Path) -> dict[str, int]:
    try:
        known = json.loads((keys / _NAME).read_bytes())
        return {str(path): int(version) for path, version in known.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
