"""Webhooks, read: from headers and bytes to what they say, or why they are refused. Pure; called by ``hooks_routes``.

A webhook only wakes the controller, which then looks at Git for itself. So nothing here keeps track of deliveries: one
that is sent again, by a forge or by a thief of one, costs a look at Git and changes nothing.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import parse_qs, unquote

from edgewright.secret import Secret
from edgewright.server.hooks.payloads import FORGES, HookKind, told
from edgewright.server.hooks.signatures import is_authentic

__all__ = ["FORGES", "Hook", "HookKind", "Refusal", "RefusalReason", "RepositoryNames", "delivery_of", "read_webhook"]

RefusalReason = Literal["unknown-forge", "no-secret", "not-authentic", "unsupported", "malformed", "other-repository"]

_FORM = "application/x-www-form-urlencoded"
_FORM_FORGES = frozenset(("github", "gitea", "forgejo"))
_MOST_FIELDS = 16
_DELIVERY_HEADERS = (
    "x-forgejo-delivery",
    "x-gitea-delivery",
    "x-github-delivery",
    "x-gitlab-event-uuid",
    "webhook-id",
    "x-request-uuid",
    "x-request-id",
    "x-delivery",
)
_NOT_PLAIN = re.compile(r"[^\w.:{}-]", re.ASCII)
_LONGEST_DELIVERY = 128


@dataclass(frozen=True, slots=True)
class Hook:
    """An authentic webhook. ``ref`` and ``number`` are hints of what to look at, never facts."""

    kind: HookKind
    forge: str
    ref: str | None = None
    number: int | None = None
    """Of the pull request."""
    delivery: str | None = None
    """The forge's name for this delivery, for logs."""

    @property
    def wakes(self) -> bool:
        """True where the webhook may have changed something."""
        return self.kind in {"push", "tag", "pull_request"}


@dataclass(frozen=True, slots=True)
class Refusal:
    """A webhook that is not acted on, and why. The message repeats nothing of what was sent."""

    reason: RefusalReason
    message: str


@dataclass(frozen=True, slots=True)
class RepositoryNames:
    """Names and URLs that count as ours; none at all means that any repository does."""

    paths: frozenset[str] = frozenset()

    @classmethod
    def of(cls, names: Iterable[str]) -> "RepositoryNames":
        """Take full names (``team/specs``) and clone URLs in any form; paths on this machine name no forge's."""
        return cls(frozenset(path for name in names if not _is_local(name) and (path := _path(name))))

    def include(self, others: Sequence[str]) -> bool:
        """Return whether a payload names this repository; one that names none may be.

        The path decides, in any case of letters, and not the host: the same repository has several (of its web pages,
        of SSH, of an alias, of a service inside a cluster), and forges are told apart by their secrets. Below a path
        prefix (``/scm/team/specs``, ``/gitea/team/specs``) it is the same repository, too.
        """
        theirs = [path for other in others if (path := _path(other))]
        return not self.paths or not theirs or any(_same(ours, path) for ours in self.paths for path in theirs)


def read_webhook(
    forge: str, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], repository: RepositoryNames
) -> Hook | Refusal:
    """Authenticate a webhook, then read it. Any of the secrets will do, so that they can be changed one by one.

    ``body`` must have been capped. Header names may be in any case; values are Latin-1, as servers decode them.
    """
    if forge not in FORGES:
        return Refusal("unknown-forge", "there is no such forge")
    if not any(secret.reveal().strip() for secret in secrets):
        return Refusal("no-secret", "no webhook secret is configured, so every webhook is refused")
    headers = {name.lower(): value for name, value in headers.items()}
    if not is_authentic(forge, headers, body, secrets):
        return Refusal("not-authentic", "the signature is missing or does not fit")
    payload = _parse(forge, headers.get("content-type", ""), body)
    if isinstance(payload, Refusal):
        return payload
    said = told(forge, headers, payload)
    if said.kind != "ping" and not repository.include(said.repositories):
        return Refusal("other-repository", "it is about another repository")
    return Hook(said.kind, forge, said.ref, said.number, delivery_of(headers) or _plain(said.delivery))


def delivery_of(headers: Mapping[str, str]) -> str | None:
    """The forge's name for a delivery, fit for a log; ``headers`` in lower case. Not authenticated."""
    return _plain(next((headers[name] for name in _DELIVERY_HEADERS if headers.get(name)), None))


def _plain(text: str | None) -> str | None:
    return _NOT_PLAIN.sub("", text[:_LONGEST_DELIVERY]) or None if text else None


def _parse(forge: str, content_type: str, body: bytes) -> Any:
    """The payload, or a Refusal. Depth is bounded by the parser's own limit, size by whoever read the body."""
    media = content_type.partition(";")[0].strip().lower()
    if forge == "generic" and not body.strip():
        return {}
    try:
        if media == _FORM and forge in _FORM_FORGES:
            fields = parse_qs(body.decode(), strict_parsing=True, max_num_fields=_MOST_FIELDS)
            if "payload" not in fields:
                return Refusal("malformed", "the form has no field payload")
            payload = json.loads(fields["payload"][0])
        elif media in {"", "application/json"} or media.endswith("+json") or forge == "generic":
            payload = json.loads(body)
        else:
            return Refusal("unsupported", "the body must be application/json")
    except (ValueError, RecursionError):
        return Refusal("malformed", "the body is not JSON")
    return payload if isinstance(payload, dict) else Refusal("malformed", "the body is not a JSON object")


def _is_local(name: str) -> bool:
    return name.startswith(("/", ".", "~", "file:"))


_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://[^/]*/")
_SCP = re.compile(r"[^/:]+:(?!//)")


def _path(name: str) -> str:
    """``team/specs`` of a full name, an URL (``https://host:3000/team/specs.git``), or ``git@host:team/specs.git``."""
    text = unquote(name.strip()).casefold()
    at = _SCHEME.match(text) or _SCP.match(text)
    host = at.group() if at else ""
    path = (text[len(host) :] if at else text).strip("/").removesuffix(".git")
    parts = [part for part in path.split("/") if part]
    if "_git" in parts:
        parts = _azure_parts(parts, skipped=1 if "dev.azure.com" in host else 0)
    elif parts[:1] == ["v3"] and ("azure.com" in host or "visualstudio.com" in host):
        parts = parts[2:]
    return "/".join(parts)


def _azure_parts(parts: list[str], *, skipped: int) -> list[str]:
    """``project/repository``; the address of a project's own repository leaves the project out."""
    project, name = parts[skipped : parts.index("_git")], parts[parts.index("_git") + 1 :]
    project = [part for part in project if part != "defaultcollection"]
    return [*(project[-1:] or name), *name]


def _same(one: str, other: str) -> bool:
    """Equal, or one is the other below a prefix; a bare name is no such tail."""
    if one == other:
        return True
    longer, shorter = (one, other) if len(one) > len(other) else (other, one)
    return "/" in shorter and longer.endswith("/" + shorter)
