"""Review of an environment's upkeep, its delivery and its notifications. Called by ``review``."""

from collections.abc import Iterator

from edgewright.core.review.findings import ReviewWarning, repository_address
from edgewright.core.snapshot import Snapshot
from edgewright_schemas.environment import AgentDelivery
from edgewright_schemas.notifications import NotificationReceiver

Finding = tuple[str, str]
"""Reason and message."""


def upkeep_weakened(base: Snapshot, head: Snapshot) -> Iterator[ReviewWarning]:
    """Compare delivery, reconciliation and notifications, as they apply to the environment."""
    address, location = repository_address(head)
    for reason, message in [*_delivery(base, head), *_reconciliation(base, head), *_receivers(base, head)]:
        yield ReviewWarning(reason, address, message, location)


def _delivery(base: Snapshot, head: Snapshot) -> Iterator[Finding]:
    was, now = _delivered(base), _delivered(head)
    for what, old, new in (
        ("files for devices would be published in", was.repository, now.repository),
        ("reports of devices would be read from", was.reports, now.reports),
    ):
        if old != new:
            yield "DeliveryMoved", f"{what} {new}; it was {old}"


def _delivered(snapshot: Snapshot) -> AgentDelivery:
    repository = snapshot.repository()
    if repository is None:
        return AgentDelivery()
    environment = repository.spec.environment(snapshot.environment)
    return (environment and environment.delivery) or repository.spec.delivery


def _reconciliation(base: Snapshot, head: Snapshot) -> Iterator[Finding]:
    was, now = base.reconciliation(), head.reconciliation()
    if now.suspend and not was.suspend:
        yield "Suspended", "nothing would be changed any more, whatever is merged"
    if was.self_heal and not now.self_heal:
        yield "SelfHealOff", "what no longer matches would only be reported, not repaired"
    if now.prune and not was.prune:
        yield "PruneOn", "what is no longer declared would no longer be managed; until now it was only reported"


def _receivers(base: Snapshot, head: Snapshot) -> Iterator[Finding]:
    was, now = _notified(base), _notified(head)
    for name in sorted(was.keys() - now.keys()):
        yield "ReceiverRemoved", f"{name} would no longer be told of anything"
    for name in sorted(now):
        if name not in was:
            yield "ReceiverAdded", f"{name} would be told of what happens: {_sink(now[name])}"
        elif _sink(was[name]) != _sink(now[name]):
            yield "ReceiverChanged", f"{name} would be {_sink(now[name])}; it was {_sink(was[name])}"


def _notified(snapshot: Snapshot) -> dict[str, NotificationReceiver]:
    repository = snapshot.repository()
    return {each.name: each for each in repository.spec.notifications} if repository is not None else {}


def _sink(receiver: NotificationReceiver) -> str:
    """Describe where a receiver's messages go, and the secrets it uses; secrets are named, never shown."""
    if receiver.slack is not None:
        return f"the chat at secret {receiver.slack.url.secret}"
    if receiver.webhook is not None:
        return f"the endpoint at secret {receiver.webhook.url.secret}, signed with {receiver.webhook.key.secret}"
    assert receiver.email is not None
    mail = receiver.email
    password = f", which is given secret {mail.password.secret}" if mail.password is not None else ""
    return f"mail to {', '.join(mail.recipients)} through {mail.host}:{mail.port} ({mail.security}){password}"
