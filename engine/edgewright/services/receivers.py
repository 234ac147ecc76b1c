"""Receivers of notifications, and whether they can be reached. Called by ``notify test``."""

import secrets
from collections.abc import Mapping, Sequence
from typing import Protocol

from edgewright.core.status.notifications import Notification
from edgewright.core.status.source import repository_address
from edgewright.core.suggestions import suggestion
from edgewright.errors import EdgewrightError, NotificationError, NotificationUnavailable
from edgewright.ports import Notifier
from edgewright.reconcile.accepted import follow_of
from edgewright.services.environment import Environment
from edgewright_schemas.notifications import NotificationReceiver


class NotifyingEnvironment(Environment, Protocol):
    """An environment that can send notifications."""

    def notifier(self, receiver: NotificationReceiver) -> Notifier:
        """Return what sends to a receiver.

        Raises:
            NotificationError: Secrets are missing, or the receiver cannot be used as declared.
        """
        ...


def send_test(
    environment: NotifyingEnvironment, name: str | None = None
) -> Mapping[str, NotificationError | NotificationUnavailable | None]:
    """Send a test notification to one receiver, or to all; limits and filters do not count.

    Returns:
        What went wrong, by the receivers' names; None where it arrived.

    Raises:
        EdgewrightError: No receivers are declared, or none of this name; or there is no such environment.
    """
    revision = environment.source.revision()
    repository = environment.upstream.declared(revision)
    if environment.env:
        follow_of(repository, environment.env)
    chosen = _choose(repository.spec.notifications if repository else (), name)
    notification = Notification(
        at=environment.clock(),
        severity="info",
        reason="Test",
        address=str(repository_address(repository.metadata.name if repository else "")),
        message="This is a test: notifications of edgewright arrive here.",
        environment=environment.env,
        revision=revision,
        id=secrets.token_hex(16),
    )
    return {receiver.name: _send(environment, receiver, notification) for receiver in chosen}


def _choose(declared: Sequence[NotificationReceiver], name: str | None) -> Sequence[NotificationReceiver]:
    """Choose receivers.

    Raises:
        EdgewrightError: None is declared, or none of this name.
    """
    if not declared:
        raise EdgewrightError("no receivers of notifications are declared", hint="see docs/how-to/notifications.md")
    chosen = [receiver for receiver in declared if name in {None, receiver.name}]
    if not chosen:
        hint = suggestion(name or "", [receiver.name for receiver in declared])
        raise EdgewrightError(f"there is no receiver {name!r}", hint=hint)
    return chosen


def _send(
    environment: NotifyingEnvironment, receiver: NotificationReceiver, notification: Notification
) -> NotificationError | NotificationUnavailable | None:
    try:
        environment.notifier(receiver).send(notification)
    except (NotificationError, NotificationUnavailable) as problem:
        return problem
    return None
