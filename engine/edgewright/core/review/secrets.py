"""Secrets written into specs. Called by ``review``; and by whatever shows a plan to others, to leave them out.

A value counts as one when it has the form of a known kind of key, or stands in a field whose name says so. What is
found is named by its field, never shown.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from edgewright.core.address import Address
from edgewright.core.planning.plan import Note, Plan, Reason
from edgewright.core.review.findings import ReviewWarning
from edgewright.core.snapshot import Snapshot

HIDDEN = "***"


@dataclass(frozen=True, slots=True)
class _Form:
    """The form of a kind of key. Linear in a text's length: a pull request may bring a megabyte of anything.

    A pattern that begins with a run of letters looks at each run once for each of its letters. So where one would, it
    is the pattern of what comes after, and the run before is looked through once.
    """

    looks: str
    pattern: re.Pattern[str]
    """Its group 1, where it has one, ends what is found."""
    run: re.Pattern[str] | None = None
    """The characters before it."""
    start: re.Pattern[str] | None = None
    """Where it begins in the run."""

    def find(self, text: str) -> Iterator[tuple[int, int]]:
        """List where such keys begin and end."""
        for found in self.pattern.finditer(text):
            begin = found.start()
            if self.run is not None and self.start is not None:
                while begin and self.run.match(text[begin - 1]):
                    begin -= 1
                head = self.start.search(text, begin, found.start())
                if head is None:
                    continue
                begin = head.start()
            yield begin, found.end(1) if self.pattern.groups else found.end()


_WORD = r"[A-Za-z0-9_-]"
_FORMS = tuple(
    _Form(*form)
    for form in (
        ("an AWS access key", re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
        ("a GitHub token", re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})")),
        ("a GitLab token", re.compile(r"\bgl(?:pat|dt|rt)-[A-Za-z0-9_-]{16,}")),
        ("a Slack token", re.compile(r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}")),
        ("a Slack webhook", re.compile(r"hooks\.slack\.com/services/[A-Za-z0-9/]{16,}")),
        ("a Google API key", re.compile(r"\bAIza[0-9A-Za-z_-]{35}")),
        ("a private key", re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----")),
        (
            "a JSON web token",
            re.compile(rf"\.(?=(eyJ{_WORD}{{8,}}\.{_WORD}+))"),
            re.compile(_WORD),
            re.compile(rf"\beyJ{_WORD}{{8,}}"),
        ),
        (
            "a password in a URL",
            re.compile(r"://[^\s/:@]*:[^\s/@]+@"),
            re.compile(r"[A-Za-z0-9+.-]"),
            re.compile(r"[A-Za-z]"),
        ),
    )
)
_NAMES = re.compile(
    r"(?:^|[-_.])(?:password|passwd|passphrase|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credentials?)$",
    re.IGNORECASE,
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_PLACEHOLDER = re.compile(r"(?:\$\{?[A-Za-z_]\w*\}?|<[^>]*>|\*+|x+|\{\{.*\}\})?", re.DOTALL)
_FLAG = re.compile(r"^--?([A-Za-z][A-Za-z0-9_-]*)=(.+)$", re.DOTALL)

Found = tuple[Address, str, str, str]
"""Address, field, what it looks like, the value."""


def secrets_added(base: Snapshot | None, head: Snapshot) -> Iterator[ReviewWarning]:
    """Warn of values that look like secrets and are not in force already."""
    known = {(address, value) for address, _, _, value in _all(base, head)} if base is not None else set()
    for address, field, looks, value in _all(head, base):
        if (address, value) not in known:
            yield ReviewWarning(
                "SecretInSpec",
                address,
                f"{field} looks like {looks}: everyone who can read the repository can read it, and Git never forgets. "
                "Take it out, and change it where it is used",
                head.resources[address].location,
            )


def secret_values(*snapshots: Snapshot | None) -> tuple[str, ...]:
    """List every value that looks like a secret, as written and as JSON has it, the longest first."""
    found = {value for snapshot in snapshots if snapshot is not None for _, _, _, value in _all(snapshot, None)}
    found |= {json.dumps(value, ensure_ascii=ascii_only)[1:-1] for value in found for ascii_only in (True, False)}
    return tuple(sorted(found, key=lambda value: (-len(value), value)))


def without(text: str, values: Iterable[str]) -> str:
    """Leave secrets out of a text."""
    for value in values:
        text = text.replace(value, HIDDEN)
    return text


def without_known_forms(text: str) -> str:
    """Leave out what has the form of a known kind of key, of a text whose secrets could not be listed."""
    for form in _FORMS:
        parts, at = [], 0
        for begin, end in form.find(text):
            if begin >= at:
                parts += [text[at:begin], HIDDEN]
                at = end
        text = "".join([*parts, text[at:]])
    return text


def plan_without(plan: Plan, values: Iterable[str]) -> Plan:
    """Leave secrets out of what a plan says."""
    hidden = tuple(values)
    if not hidden:
        return plan

    def reason(given: Reason) -> Reason:
        old, new = (None if text is None else without(text, hidden) for text in (given.old, given.new))
        return Reason(without(given.field, hidden), old, new)

    def note(given: Note) -> Note:
        return replace(given, message=without(given.message, hidden))

    steps = tuple(replace(step, reasons=tuple(map(reason, step.reasons))) for step in plan.steps)
    return replace(plan, steps=steps, notes=tuple(map(note, plan.notes)))


def _all(snapshot: Snapshot, other: Snapshot | None) -> Iterator[Found]:
    """Search every document; those whose file is the same in another snapshot hold nothing new."""
    for address in sorted(snapshot.resources):
        resource = snapshot.resources[address]
        same = other.resources.get(address) if other is not None else None
        if same is not None and same.blob == resource.blob and same.document == resource.document:
            continue
        document = resource.document.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for field, name, value in _strings(document, "", ""):
            if looks := _looks_like(name, value):
                yield address, field, looks[0], looks[1]


def _strings(value: object, field: str, name: str) -> Iterator[tuple[str, str, str]]:
    """List (field, its last name, text) for every text below a value."""
    if isinstance(value, str):
        yield field, name, value
        if flag := _FLAG.match(value):
            yield field, flag[1], flag[2]
    elif isinstance(value, dict):
        # A reference to a secret names it, and names are no secrets.
        if set(value) == {"secret"}:
            return
        for key, inner in value.items():
            yield from _strings(inner, f"{field}.{key}" if field else str(key), str(key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from _strings(inner, f"{field}[{index}]", name)


def _looks_like(name: str, value: str) -> tuple[str, str] | None:
    """Recognize a secret in a text; return its kind and the part to hide."""
    for form in _FORMS:
        for begin, end in form.find(value):
            return form.looks, value if form.looks == "a private key" else value[begin:end]
    if _NAMES.search(_HUMP.sub("-", name)) and not _PLACEHOLDER.fullmatch(value.strip()) and len(value) > 3:
        return "a secret", value
    return None
