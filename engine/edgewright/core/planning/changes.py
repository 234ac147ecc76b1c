"""Reasons of a step: its components compared with those of the last such artifact."""

from collections.abc import Mapping

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.planning.fingerprint import IMPLIED
from edgewright.core.planning.plan import Reason

_ABSENT = None


def compare(old: Mapping[str, str], new: Mapping[str, str]) -> tuple[Reason, ...]:
    """List the components that differ, in path order."""
    return tuple(
        Reason(field, old.get(field, _ABSENT), new.get(field, _ABSENT))
        for field in sorted(old.keys() | new.keys())
        if old.get(field, _ABSENT) != new.get(field, _ABSENT)
    )


class Latest:
    """The newest artifact of each action and address; indexed on first use, since a no-op plan needs none."""

    def __init__(self, artifacts: Mapping[str, Artifact]) -> None:
        self._artifacts = artifacts
        self._index: dict[tuple[Action, Address], Artifact] | None = None

    def find(self, action: Action, address: Address) -> Artifact | None:
        """Find what this step made last."""
        if self._index is None:
            self._index = {}
            for artifact in sorted(self._artifacts.values(), key=_age):
                self._index[artifact.action, artifact.address] = artifact
        return self._index.get((action, address))


def _age(artifact: Artifact) -> tuple[float, str]:
    made = artifact.created_at.timestamp() if artifact.created_at else 0.0
    return (made, artifact.fingerprint)


def why(
    latest: Latest, action: Action, address: Address, components: Mapping[str, str], wrong: str = ""
) -> tuple[Reason, ...]:
    """Explain a step by its predecessor; a first time is said so.

    Args:
        latest: What steps made last.
        action: The step's action.
        address: Its resource.
        components: What its output depends on.
        wrong: What may be wrong with what an earlier version made of the same, where there is such a thing.
    """
    before = latest.find(action, address)
    if before is None:
        return (Reason("artifact", None, "first build"),)
    if wrong:
        return (Reason("corrected", wrong, "made again"),)
    differences = compare(before.components, components)
    told = tuple(each for each in differences if each.old is not None or each.field not in IMPLIED)
    return told or differences or (Reason("artifact", "lost", "rebuild"),)
