"""Opens the forge that settings name. Called by ``cli`` and ``server``, which wire it to the port."""

from typing import assert_never

from edgewright.forges.http import PATIENT, Patience
from edgewright.forges.settings import ForgeSettings
from edgewright.ports import Forge


def open_forge(settings: ForgeSettings, patience: Patience = PATIENT) -> Forge:
    """Open it; nothing is asked yet. Close it at the end.

    Raises:
        ForgeError: The token cannot be one.
    """
    match settings.kind:
        case "github":
            from edgewright.forges.github import GitHub

            return GitHub(settings, patience)
        case "gitlab":
            from edgewright.forges.gitlab import GitLab

            return GitLab(settings, patience)
        case "gitea" | "forgejo":
            from edgewright.forges.gitea import Gitea

            return Gitea(settings, patience)
        case _ as never:
            assert_never(never)
