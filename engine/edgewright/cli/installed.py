"""The commit that this edgewright was installed from. Called by ``edgewright workflow``.

Neither distribution is published on PyPI: a package of that name there would be somebody else's. So what is installed
elsewhere is this commit of the repository.
"""

import json
import re
import subprocess
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

from edgewright.errors import EdgewrightError

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HINT = "give it with --commit: one of https://github.com/edgewright/edgewright, all 40 digits"


def commit_to_install(given: str | None) -> str:
    """Return the commit that CI is to install: the one that is given, or the one that is installed here.

    Raises:
        EdgewrightError: It is no commit, or nobody can tell.
    """
    if given is not None:
        if not _COMMIT.fullmatch(given):
            raise EdgewrightError(f"--commit {given} is no commit", hint="give all 40 digits: a name may move")
        return given
    found = installed_commit()
    if found is None:
        raise EdgewrightError("the commit that this edgewright was installed from is not known", hint=_HINT)
    return found


def installed_commit() -> str | None:
    """Return the commit of an installation from Git, or of the clone it was installed from; None where it tells none.

    As pip notes it: PEP 610, ``direct_url.json``.
    """
    try:
        noted = json.loads(distribution("edgewright").read_text("direct_url.json") or "{}")
        commit = noted.get("vcs_info", {}).get("commit_id")
        url = urlsplit(noted.get("url", ""))
    except (PackageNotFoundError, ValueError, AttributeError):
        return None
    if isinstance(commit, str):
        return commit if _COMMIT.fullmatch(commit) else None
    return _head(Path(unquote(url.path))) if url.scheme == "file" else None


def _head(folder: Path) -> str | None:
    """Return the commit that is checked out in a clone of edgewright itself."""
    if not (folder / ".git").exists():
        return None
    try:
        done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return None
    found = done.stdout.strip()
    return found if done.returncode == 0 and _COMMIT.fullmatch(found) else None
