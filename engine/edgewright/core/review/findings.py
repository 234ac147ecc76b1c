"""Findings of a review, and what they speak of. Used by the modules of ``review``."""

from dataclasses import dataclass
from typing import Literal

from edgewright.core.address import Address
from edgewright.core.snapshot import Location, Snapshot
from edgewright_schemas.repository import REPOSITORY_FILE


@dataclass(frozen=True, slots=True)
class ReviewWarning:
    """One finding."""

    reason: str
    """One word: Prune, GateLoosened, CanaryRemoved, UnverifiedSigner, RunsCode, …"""
    address: Address
    message: str
    location: Location | None = None
    """Where the document it speaks of is written; None where it is no longer written anywhere."""
    severity: Literal["warning", "info"] = "warning"

    @property
    def where(self) -> str:
        """Write ``path:line``; empty without a location."""
        return f"{self.location.path}:{self.location.line}" if self.location else ""


def repository_address(snapshot: Snapshot) -> tuple[Address, Location]:
    """Find what speaks for the repository itself; without a Repository document, its place stands in."""
    for address in snapshot.resources:
        if address.kind == "repository":
            return address, snapshot.resources[address].location
    return Address("repository", "repository"), Location(REPOSITORY_FILE, 1, 1)
