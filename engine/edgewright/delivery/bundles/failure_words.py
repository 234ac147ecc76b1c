"""Finds the reason of a failed installation in the messages of update clients. Pure; called by drivers
of devices with bundles.

As SWUpdate 2022.12, RAUC 1.8, rauc-hawkbit-updater 1.4 and the scripts in our bundles word them.
"""

import re
from datetime import datetime, timedelta

from edgewright.core.fleet.twins import CLOCK_NOT_SET

_REASONS = (
    ("NoSpace", r"no space|not enough (?:free )?space|disk full|exceeds available space"),
    (CLOCK_NOT_SET, r"certificate (?:is not yet valid|has expired)|not valid before|CertificateNotYetValid"),
    ("SignatureInvalid", r"signature|unknown signer"),
    ("DigestMismatch", r"digestmismatch|hash mismatch|checksum|invalid hash"),
    ("Incompatible", r"compatible"),
    ("NoInstaller", r"installer is not here"),
    ("FetchFailed", r"download failed|channel operation returned error|timed? ?out"),
)
"""The first match is used."""
_ERROR = re.compile(r"(?:ERROR\b|LastError\b|<< error\b)\s*:?\s*", re.IGNORECASE)
_USUAL = re.compile(r"cannot read stored update state", re.IGNORECASE)
"""SWUpdate logs this error wherever it has no boot loader to keep its state in."""
_LONGEST = 300
_CLOCK_OFF = timedelta(days=2)
"""More than time zones make a difference."""


def reason_of(words: str) -> str:
    """Return the reason that a client's words name, or ``InstallFailed``."""
    return next((name for name, pattern in _REASONS if re.search(pattern, words, re.IGNORECASE)), "InstallFailed")


def explain_failure(words: str, clock: datetime | None, now: datetime) -> tuple[str, str]:
    """Return the reason and the words of a failure, where the device's clock may be why it trusts no signature.

    Args:
        words: What the client said.
        clock: The device's own, in UTC or its time zone; None where it was not said.
        now: Aware UTC time.
    """
    reason = reason_of(words)
    if reason == "SignatureInvalid" and clock is not None and abs(clock - now) > _CLOCK_OFF:
        return CLOCK_NOT_SET, f"its clock says {clock:%Y-%m-%d %H:%M}: {words}"
    return reason, words


def is_error(message: str) -> bool:
    """Return True if a client marks a message as an error."""
    return _ERROR.match(message.lstrip()) is not None and not _USUAL.search(message)


def plain_words(message: str) -> str:
    """Remove the mark of an error; empty for a message that is no error."""
    return "" if _USUAL.search(message) else _ERROR.sub("", message, count=1).strip()[:_LONGEST]
