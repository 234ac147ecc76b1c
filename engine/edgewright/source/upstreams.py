"""Open the upstream of a location: a mirror, or a local repository. Called by ``wiring``."""

from pathlib import Path

from edgewright.ports import Upstream
from edgewright.source.git.credentials import Credentials
from edgewright.source.git.remotes import is_remote
from edgewright.source.local import LocalUpstream
from edgewright.source.mirrors import Mirror


def open_upstream(location: str, folder: Path, credentials: Credentials, *, cache: Path | None) -> Upstream:
    """Open a repository to be followed; nothing is fetched yet.

    Args:
        location: A path, or the address of a remote repository.
        folder: For its mirror.
        credentials: To reach a remote one with.
        cache: The folder to keep parsed specs in.

    Raises:
        SourceError: There is no repository, or its address is wrong.
    """
    if is_remote(location) and not Path(location).is_dir():
        return Mirror(location, folder, credentials, cache=cache)
    return LocalUpstream(location, folder, cache=cache)
