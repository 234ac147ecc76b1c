"""Opens the forge that settings name. Called by ``cli`` and ``server``, which wire it to the port."""

from typing import assert_never

from edgewright.forges.client import DEFAULT_OPTIONS, HttpOptions
from edgewright.forges.settings import ForgeSettings
from edgewright.ports import Forge


def open_forge(settings: ForgeSettings, options: HttpOptions = DEFAULT_OPTIONS) -> Forge:
    """Open it; nothing is asked yet. Close it at the end.

    Raises:
        ForgeError: The token cannot be one.
    """
    match settings.kind:
        case "github":
            from edgewright.forges.github import GitHub

            return GitHub(settings, options)
        case "gitlab":
            from edgewright.forges.gitlab import GitLab

            return GitLab(settings, options)
        case "gitea" | "forgejo":
            from edgewright.forges.gitea import Gitea

            return Gitea(settings, options)
        case _ as never:
            assert_never(never)
