"""Words of update clients that tell why an installation failed. Pure; called by ``actions``.

As SWUpdate 2022.12, RAUC 1.8, rauc-hawkbit-updater 1.4 and the scripts in our bundles have them.
"""

import re

_REASONS = (
    ("NoSpace", r"no space|not enough (?:free )?space|disk full|exceeds available space"),
    ("SignatureInvalid", r"signature|unknown signer"),
    ("DigestMismatch", r"digestmismatch|hash mismatch|checksum|invalid hash"),
    ("Incompatible", r"compatible"),
    ("NoInstaller", r"installer is not here"),
    ("FetchFailed", r"download failed|channel operation returned error|timed? ?out"),
)
"""The first that fits counts."""
_ERROR = re.compile(r"\s*(?:ERROR\b|LastError\b|<< error\b)\s*:?\s*", re.IGNORECASE)
_USUAL = re.compile(r"cannot read stored update state", re.IGNORECASE)
"""What SWUpdate calls an error wherever it has no boot loader to keep its state in."""
_LONGEST = 300


def reason_of(words: str) -> str:
    """Name the reason that a client's words mean, as far as they are known."""
    return next((name for name, pattern in _REASONS if re.search(pattern, words, re.IGNORECASE)), "InstallFailed")


def is_error(message: str) -> bool:
    """Tell whether a client calls something an error."""
    return _ERROR.match(message) is not None and not _USUAL.search(message)


def plain_words(message: str) -> str:
    """Leave out the mark of an error, and what is no error."""
    return "" if _USUAL.search(message) else _ERROR.sub("", message, count=1).strip()[:_LONGEST]
