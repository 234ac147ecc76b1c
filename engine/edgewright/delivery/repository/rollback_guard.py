"""Guards against a rollback of the repository: records the timestamp version of each one this machine published.

Devices refuse older versions. So a repository that is gone (a share that is not mounted), or was restored from an old
copy, must not be started again under the same keys unnoticed: all devices would stop taking updates. The record lies
beside the keys, as ``repositories.json``; where that folder cannot be written, nothing is recorded. Called by
``repository`` and ``inspection``.
"""

import contextlib
import json
from pathlib import Path

from edgewright import durable
from edgewright.errors import DeliveryError, DeliveryUnavailable, StorageFull

_NAME = "repositories.json"


def check_version(keys: Path, repository: Path, version: int) -> None:
    """Compare a repository's timestamp version (0: there is none) with the version published last.

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


def record_version(keys: Path, repository: Path, version: int) -> None:
    """Record the version that was published."""
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
