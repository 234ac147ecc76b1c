"""Workflow files for CI that preview pull requests. Called by ``edgewright workflow``.

They are plain files, with one word replaced by the commit to install.
"""

from dataclasses import dataclass
from pathlib import Path

_FOLDER = Path(__file__).parent
_COMMIT = "COMMIT-OF-EDGEWRIGHT"
PLACES = {
    "github": ".github/workflows/edgewright.yaml",
    "gitlab": ".gitlab/edgewright-ci.yaml",
    "forgejo": ".forgejo/workflows/edgewright.yaml",
}
"""Where each belongs in a repository."""


@dataclass(frozen=True, slots=True)
class Workflow:
    """A file, and what is left to do once it is in place."""

    place: str
    text: str
    next: str


def workflow(forge: str, commit: str) -> Workflow:
    """Make the file for ``github``, ``gitlab`` or ``forgejo``.

    Raises:
        KeyError: There is no file for this forge.
    """
    place = PLACES[forge]
    text = (_FOLDER / f"{forge}.yaml").read_text(encoding="utf-8").replace(_COMMIT, commit)
    return Workflow(place, text, _NEXT[forge])


_NEXT = {
    "github": "commit it; the token is GitHub's own",
    "gitlab": "add to .gitlab-ci.yml: include: [{local: .gitlab/edgewright-ci.yaml}]; "
    "and set the CI/CD variable GITLAB_TOKEN (docs/how-to/connect-a-forge.md)",
    "forgejo": "commit it, and set runs-on to a label of your runners",
}
