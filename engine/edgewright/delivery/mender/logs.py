"""Why a deployment failed, by the log of Mender's client. Pure; called by ``conversation``.

A device with our update module shows evidence, which says it exactly. What fails before the module is called, or in
another module, is only in the client's own words.
"""

import re
from collections.abc import Iterator, Sequence

from edgewright.delivery.evidence import Refused
from edgewright.delivery.mender.messages import LogMessage

UNEXPLAINED = "InstallFailed"
"""The reason where nothing says more."""
_OUTPUT = re.compile(r"^Output \(stderr\) from command \"[^\"]*\": ")
_REASONS: Sequence[tuple[str, re.Pattern[str]]] = (
    ("NoSpace", re.compile(r"no space left|not enough (disk )?space|disk quota", re.IGNORECASE)),
    ("Rejected", re.compile(r"signature|no public key|not signed|expecting signed", re.IGNORECASE)),
    ("DigestMismatch", re.compile(r"checksum|digest", re.IGNORECASE)),
    ("Incompatible", re.compile(r"not compatible|incompatible|depend|update module|payload type", re.IGNORECASE)),
    ("FetchFailed", re.compile(r"fetch|download|resume|connection", re.IGNORECASE)),
)
_MOST_LINES = 5
_LONGEST_LINE = 400


def explain(messages: Sequence[LogMessage]) -> Refused:
    """Find the lines that say what went wrong, and name the reason."""
    lines = list(dict.fromkeys(_telling(messages)))[:_MOST_LINES]
    text = "; ".join(lines)
    reason = next((name for name, pattern in _REASONS if pattern.search(text)), UNEXPLAINED)
    return Refused(reason, text or "its update client says that it failed, and its log does not say why")


def _telling(messages: Sequence[LogMessage]) -> Iterator[str]:
    """The client's errors, and what update modules wrote that is no line of their own log."""
    for each in messages:
        output = _OUTPUT.sub("", each.message)
        ours = output != each.message and output.startswith("edgewright: ")
        if ours or each.level in {"error", "fatal", "panic", "critical"}:
            yield output.strip()[:_LONGEST_LINE]
