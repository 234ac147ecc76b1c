"""What the commands about devices have in common: their environment's stores, and labels as people write them."""

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from edgewright.cli.workspaces import open_workspace
from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError

if TYPE_CHECKING:  # annotations alone must not import what a command may not need
    from edgewright.delivery.identity.admission import Admission

LabelsOption = Annotated[list[str] | None, typer.Option("--label", help="KEY=VALUE; repeatable.", show_default=False)]
_LABEL = re.compile(r"([^=\s]+)=(.*)")
_DEVICE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?")
"""As edgewright_wire.messages.DeviceId."""


class Place:
    """One environment, as the commands find it."""

    def __init__(self, repo: str, state: str | None, env: str | None) -> None:
        """Find it.

        Raises:
            EdgewrightError: There is no repository, or it declares environments and none was named.
        """
        self.workspace = open_workspace(repo, state=state, env=env)
        self.desired: Snapshot = self.workspace.source.snapshot()
        repository = self.desired.repository()
        if repository is not None and repository.spec.environments and not env:
            names = ", ".join(environment.name for environment in repository.spec.environments)
            raise EdgewrightError(f"this repository declares environments: {names}", hint="name one with --env")

    def admission(self) -> "Admission":
        """What decides about keys."""
        from edgewright.delivery.identity.admission import Admission
        from edgewright.state.twins import SqlIdentities

        return Admission(SqlIdentities(self.workspace.state), self.workspace.state, self.workspace.clock)


def labels_of(given: Sequence[str] | None) -> dict[str, str]:
    """Read labels.

    Raises:
        EdgewrightError: One is none.
    """
    found = {}
    for text in given or ():
        match = _LABEL.fullmatch(text)
        if match is None:
            raise EdgewrightError(f"--label {text} is no label", hint="write it like --label region=eu")
        found[match[1]] = match[2]
    return found


def check_device(device: str) -> None:
    """Refuse what is no device id.

    Raises:
        EdgewrightError: It is none.
    """
    if not _DEVICE.fullmatch(device):
        raise EdgewrightError(
            f"{device!r} is no device id", hint="letters, digits, '.', '_' and '-'; at most 128, the first no sign"
        )
