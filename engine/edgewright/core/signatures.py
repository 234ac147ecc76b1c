"""Signatures of revisions, as Git's own verification found them. Pure values; ``source.verification`` finds them."""

from dataclasses import dataclass
from enum import StrEnum


class SignatureState(StrEnum):
    """Result of verifying a signature."""

    GOOD = "good"
    """Made by a trusted key that is neither revoked nor expired."""
    MISSING = "missing"
    UNKNOWN = "unknown"
    """Made by a key nobody here trusts."""
    REVOKED = "revoked"
    EXPIRED = "expired"
    """The key or signature had expired when it was made."""
    BAD = "bad"
    """It does not fit what it signs."""
    NOT_REQUIRED = "not-required"
    """No verification is declared."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The finding for one commit or tag."""

    state: SignatureState
    subject: str
    """``commit 1a2b…`` or ``tag v1.2.0``."""
    signer: str = ""
    """Who signed: principal or user id, and the key's fingerprint, where known."""
    detail: str = ""

    @property
    def accepted(self) -> bool:
        """True when the revision may be accepted."""
        return self.state in {SignatureState.GOOD, SignatureState.NOT_REQUIRED}

    def __str__(self) -> str:
        """Describe the result in a few words."""
        words = {
            SignatureState.GOOD: f"{self.subject} is signed by {self.signer}",
            SignatureState.MISSING: f"{self.subject} is not signed",
            SignatureState.UNKNOWN: f"{self.subject} is signed by a key that is not trusted: {self.signer}",
            SignatureState.REVOKED: f"{self.subject} is signed by a revoked key: {self.signer}",
            SignatureState.EXPIRED: f"{self.subject} is signed by a key that had expired: {self.signer}",
            SignatureState.BAD: f"the signature of {self.subject} does not fit it",
            SignatureState.NOT_REQUIRED: f"{self.subject}: no signature is asked for",
        }
        return words[self.state] + (f" ({self.detail})" if self.detail else "")
