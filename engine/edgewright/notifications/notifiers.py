"""Makes a notifier for each receiver that a repository declares. Called by ``cli`` and ``server``."""

import os
from collections.abc import Iterable, Mapping

from edgewright.errors import EdgewrightError, NotificationError
from edgewright.notifications.chat import ChatNotifier
from edgewright.notifications.mail import MailNotifier
from edgewright.notifications.poster import Poster
from edgewright.notifications.webhook import WebhookNotifier
from edgewright.ports import Notifier
from edgewright.secret import Secret, named
from edgewright_schemas.notifications import NotificationReceiver, SecretRef


def open_notifiers(
    specs: Iterable[NotificationReceiver], environment: Mapping[str, str] = os.environ
) -> Mapping[str, Notifier]:
    """Make the notifiers by the receivers' names; nothing is connected to yet.

    Args:
        specs: The receivers.
        environment: Where secrets are looked for.

    Raises:
        NotificationError: Secrets are missing, or a receiver cannot be used as declared; names all of them.
    """
    opened: dict[str, Notifier] = {}
    problems: list[EdgewrightError] = []
    for spec in specs:
        keyring = _Keyring(environment)
        try:
            notifier = _open(spec, keyring)
        except NotificationError as error:
            keyring.problems.append(error)
        else:
            if notifier is not None:
                opened[spec.name] = notifier
        problems += keyring.problems
    if problems:
        unique = {problem.message: problem for problem in problems}.values()
        raise NotificationError(
            "not every receiver of notifications can be told: " + "; ".join(problem.message for problem in unique),
            hint="\n".join(dict.fromkeys(problem.hint for problem in unique if problem.hint)),
        )
    return opened


class _Keyring:
    """Finds secrets, and remembers those that are not there instead of stopping at the first."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self.problems: list[EdgewrightError] = []

    def find(self, ref: SecretRef) -> Secret | None:
        try:
            return named(ref.secret, self._environment)
        except EdgewrightError as error:
            self.problems.append(error)
            return None


def _open(spec: NotificationReceiver, keyring: _Keyring) -> Notifier | None:
    """Make one notifier; None where a secret is missing."""
    who = f"receiver {spec.name}"
    if spec.slack is not None:
        url = keyring.find(spec.slack.url)
        return ChatNotifier(Poster(who, url)) if url is not None else None
    if spec.webhook is not None:
        url, key = keyring.find(spec.webhook.url), keyring.find(spec.webhook.key)
        return WebhookNotifier(Poster(who, url), key) if url is not None and key is not None else None
    assert spec.email is not None  # the schema asks for exactly one
    password = keyring.find(spec.email.password) if spec.email.password is not None else None
    if spec.email.password is not None and password is None:
        return None
    return MailNotifier(who, spec.email, password)
