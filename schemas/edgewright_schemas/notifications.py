"""Notification receivers. Addresses and passwords are secrets, named here and never written."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, model_validator

from edgewright_schemas.base import Duration, Name, SpecModel

MailAddress = Annotated[
    str, Field(pattern=r"^[^\s@,;<>\x00-\x1f\x7f]+@[^\s@,;<>\x00-\x1f\x7f]+$", examples=["on-call@example.com"])
]
"""An address alone, without a person's name."""


class SecretRef(SpecModel):
    """Reference to a secret of the controller."""

    secret: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", examples=["slack-url"])
    """The secret's name. ``my-secret`` is read from the variable ``EDGEWRIGHT_SECRET_MY_SECRET``, or from the file
    ``my-secret`` in the folder that ``EDGEWRIGHT_SECRETS`` names."""


class SlackSink(SpecModel):
    """An incoming webhook as Slack, Mattermost, Rocket.Chat and others offer them."""

    url: SecretRef
    """The secret that holds the webhook's address."""


class WebhookSink(SpecModel):
    """Any HTTP endpoint: a JSON body, signed in ``X-Edgewright-Signature`` with HMAC-SHA256."""

    url: SecretRef
    """The secret that holds the address."""
    key: SecretRef
    """The secret that bodies are signed with."""


class EmailSink(SpecModel):
    """Electronic mail through an SMTP server."""

    host: str
    """The server's name."""
    port: int = Field(default=587, ge=1, le=65535)
    """The server's port."""
    security: Literal["starttls", "tls", "none"] = "starttls"
    """``none`` only for a server on the same machine."""
    user: str | None = None
    """The user to log in as; by default there is no login."""
    password: SecretRef | None = None
    """The secret that holds the user's password."""
    sender: MailAddress
    """The address that mail comes from."""
    recipients: tuple[MailAddress, ...] = Field(min_length=1)
    """The addresses that mail goes to."""


class Limit(SpecModel):
    """Rate limit; messages left out are counted in the next one."""

    count: int = Field(default=20, ge=1)
    """Number of messages."""
    per: Duration = timedelta(minutes=10)
    """Period of the limit."""


class NotificationReceiver(SpecModel):
    """One receiver of notifications, by exactly one of slack, webhook and email."""

    name: Name
    """Its name in messages and logs."""
    slack: SlackSink | None = None
    """A chat channel."""
    webhook: WebhookSink | None = None
    """An HTTP endpoint."""
    email: EmailSink | None = None
    """Mail addresses."""
    kinds: tuple[str, ...] = ()
    """Kinds of resources, like ``Rollout``; all by default."""
    severity: Literal["info", "warning", "error"] = "warning"
    """The lowest severity to send."""
    reasons: tuple[str, ...] = ()
    """Only events with these reasons; all by default."""
    limit: Limit = Limit()
    """The rate limit."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "NotificationReceiver":
        if sum(sink is not None for sink in (self.slack, self.webhook, self.email)) != 1:
            raise ValueError("give exactly one of slack, webhook and email")
        return self
