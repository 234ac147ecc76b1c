"""Opens the workspace of a command: the only place of the command line that calls the composition root."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgewright.cli.console import print_warning
from edgewright.cli.resources import RESOURCES

if TYPE_CHECKING:  # a plan that was kept needs no workspace
    from edgewright.wiring.kept_plans import KeptPlan
    from edgewright.wiring.operations import OperatorWorkspace


def open_workspace(
    repo: str | Path,
    *,
    ref: str | None = None,
    worktree: bool = False,
    state: str | None = None,
    env: str | None = None,
) -> "OperatorWorkspace":
    """Open a spec repository as the options of a command name it; warnings go to stderr.

    It is closed when the command ends, so that a copy of a SQLite store's file is a backup of it.

    Args:
        repo: A path or a URL.
        ref: Branch, tag or commit to read.
        worktree: Read uncommitted edits instead of a commit.
        state: Folder for state, blobs and keys, or the URL of a database.
        env: One of the environments that the repository declares.
    """
    from edgewright.wiring.operations import OperatorWorkspace

    workspace = OperatorWorkspace(repo, ref=ref, worktree=worktree, state=state, env=env, warn=print_warning)
    RESOURCES.callback(workspace.close)
    return workspace


def kept_plan(repo: str | Path, *, ref: str | None, state: str | None, env: str | None) -> "KeptPlan":
    """Return the place of a plan that found nothing to do; arguments as of ``open_workspace``."""
    from edgewright.wiring.kept_plans import KeptPlan

    return KeptPlan(repo, ref=ref, state=state, env=env)


def inspect_onnx(path: Path) -> dict[str, Any]:
    """Inspect an ONNX file in a process of its own.

    Raises:
        EdgewrightError: It cannot be read, or reading it crashes or takes too long.
    """
    from edgewright.wiring import inspection

    return inspection.inspect_onnx(path)
