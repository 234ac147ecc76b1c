"""Finds the reason of a failed deployment in the log of Mender's client. Pure; called by ``conversation``.

A device with our update module shows evidence, which gives the exact reason. A failure before the module is called, or
in another module, is only in the client's own words.
"""

import re
from collections.abc import Iterator, Sequence

from edgewright.delivery.evidence import Refused
from edgewright.delivery.served.mender.messages import LogMessage

UNEXPLAINED = "InstallFailed"
"""The reason where the log gives none."""
_OUTPUT = re.compile(r'Output \(stderr\) from command "(?P<command>[^"]*)": (?P<line>.*)', re.DOTALL)
_MODULES = "/modules/v3/"
_OURS = re.compile(r"(edgewright|error): ")
"""Prefix of the lines in which our update module, and the installer, report their error; other lines are their log."""
_KIND = re.compile(r"^(transient|fatal) error: ")
_REASONS: Sequence[tuple[str, re.Pattern[str]]] = (
    ("NoSpace", re.compile(r"no space left|not enough (disk )?space|disk quota", re.IGNORECASE)),
    ("Rejected", re.compile(r"signature|no public key|not signed|expecting signed", re.IGNORECASE)),
    ("DigestMismatch", re.compile(r"checksum|digest", re.IGNORECASE)),
    ("Incompatible", re.compile(r"not supported by this|compatible devices|dependency", re.IGNORECASE)),
    ("FetchFailed", re.compile(r"fetch|download|resum|connection", re.IGNORECASE)),
)
_MOST_LINES = 5
_LONGEST_LINE = 400


def explain(messages: Sequence[LogMessage]) -> Refused:
    """Find the lines that report the error, and the reason."""
    lines = list(dict.fromkeys(_errors(messages)))[:_MOST_LINES]
    text = "; ".join(lines)
    reason = next((name for name, pattern in _REASONS if pattern.search(text)), UNEXPLAINED)
    return Refused(reason, text or "its update client says that it failed, and its log does not say why")


def _errors(messages: Sequence[LogMessage]) -> Iterator[str]:
    """Yield the client's errors, and those of update modules."""
    for each in messages:
        output = _OUTPUT.fullmatch(each.message)
        if output is None:
            if each.level in {"error", "fatal", "panic", "critical"}:
                yield _KIND.sub("", each.message).strip()[:_LONGEST_LINE]
        elif _MODULES in output["command"] and (_OURS.match(output["line"]) or "edgewright" not in output["command"]):
            yield output["line"].strip()[:_LONGEST_LINE]
