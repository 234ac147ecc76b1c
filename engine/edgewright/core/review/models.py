"""Checks on devices, of data and of signers that a change takes away. Called by ``review``."""

from collections.abc import Iterator

from edgewright.core.address import Address
from edgewright.core.review.findings import ReviewWarning, repository_address
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.dataset import Source
from edgewright_schemas.environment import Verification
from edgewright_schemas.model import LARGEST_DEFAULT_ATOL

Finding = tuple[str, str]
"""Reason and message."""


def models_weakened(base: Snapshot, head: Snapshot) -> Iterator[ReviewWarning]:
    """Compare models, datasets and the repository's own rules that are there before and after."""
    for address in sorted(a for a in head.resources if a.kind in {"model", "dataset"}):
        found = [*_golden(base, head, address), *_int8(base, head, address), *_source(base, head, address)]
        for reason, message in found:
            yield ReviewWarning(reason, address, message, head.resources[address].location)
    address, location = repository_address(head)
    for reason, message in _verification(base, head):
        yield ReviewWarning(reason, address, message, location)


def _golden(base: Snapshot, head: Snapshot, address: Address) -> Iterator[Finding]:
    before, after = base.model(address.name), head.model(address.name)
    if address.kind != "model" or before is None or after is None:
        return
    was, now = before.spec.package.golden, after.spec.package.golden
    if now.samples < was.samples:
        yield "GoldenFewer", f"devices would try {now.samples} golden samples before they switch; it was {was.samples}"
    # Without one of its own a spec has the default, which is no larger than this.
    off, before_off = now.atol or LARGEST_DEFAULT_ATOL, was.atol or LARGEST_DEFAULT_ATOL
    if off > before_off:
        yield "GoldenLooser", f"golden samples may be off by {off:g} on a device; it was {before_off:g}"


def _int8(base: Snapshot, head: Snapshot, address: Address) -> Iterator[Finding]:
    before, after = base.model(address.name), head.model(address.name)
    if address.kind != "model" or before is None or after is None:
        return
    was, now = before.spec.int8_bound, after.spec.int8_bound
    if after.spec.package.quantization.mode != "none" and before.spec.task == after.spec.task and now > was:
        yield "Int8Looser", f"int8 outputs may be off by {now:g} of what they vary; it was {was:g}"


def _source(base: Snapshot, head: Snapshot, address: Address) -> Iterator[Finding]:
    after = head.dataset(address.name)
    if address.kind != "dataset" or after is None or not _outside_git(head, after.spec.source):
        return
    before = base.dataset(address.name)
    was, now = before.spec.source if before else None, after.spec.source
    if now.follow and (was is None or not was.follow):
        yield (
            "SourceUnpinned",
            f"its source {now.uri} is outside Git and followed: whatever is written there is trained on without a "
            "change here",
        )
    elif was is not None and was.digest is not None and now.digest is None:
        yield "SourceUnpinned", f"its source {now.uri} is outside Git and no longer pinned by a digest"


def _outside_git(snapshot: Snapshot, source: Source) -> bool:
    return source.format != "python" and source.uri not in snapshot.content


def _verification(base: Snapshot, head: Snapshot) -> Iterator[Finding]:
    old, new = base.repository(), head.repository()
    was = old.spec.verification if old is not None else None
    now = new.spec.verification if new is not None else None
    if was is None or was == now:
        return
    if now is None:
        yield "VerificationRemoved", "revisions would be taken up whoever signed them, or nobody"
        return
    parts = list(_loosened(was, now))
    if parts:
        yield "VerificationLoosened", "; ".join(parts)


def _loosened(was: Verification, now: Verification) -> Iterator[str]:
    if now.subject not in {was.subject, "both"}:
        yield f"what must be signed would be the {now.subject}; it was {_subject(was.subject)}"
    if now.ssh is not None and (was.ssh is None or now.ssh.allowed_signers != was.ssh.allowed_signers):
        yield f"SSH signers would be those in {now.ssh.allowed_signers}; it was " + (
            was.ssh.allowed_signers if was.ssh else "nobody"
        )
    if was.ssh is not None and was.ssh.revoked is not None and now.ssh is not None and now.ssh.revoked is None:
        yield f"keys revoked in {was.ssh.revoked} would be trusted again"
    if now.gpg is not None and (was.gpg is None or now.gpg.keys != was.gpg.keys):
        yield f"GPG signers would be those in {now.gpg.keys}; it was {was.gpg.keys if was.gpg else 'nobody'}"


def _subject(subject: str) -> str:
    return "commit and tag" if subject == "both" else f"the {subject}"
