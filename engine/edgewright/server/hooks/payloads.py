"""Parses the payloads of webhooks of every forge. Pure; called by ``webhooks``, with authentic ones only.

Nothing is trusted beyond what kind of event it is, and names to tell another repository's hook apart: whatever is not
of the shape expected is as good as absent. Each function looks at fixed places only.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

HookKind = Literal["push", "tag", "pull_request", "ping", "other"]

_MOST_CHANGES = 1_000
_LONGEST_REF = 1_024
_HIGHEST_NUMBER = 2**31 - 1
_TAGS = "refs/tags/"
_HEADS = "refs/heads/"

_CLOUD_PULLS = frozenset(f"pullrequest:{what}" for what in ("created", "updated", "fulfilled", "rejected"))
_CENTER_PULLS = frozenset(
    f"pr:{what}" for what in ("opened", "from_ref_updated", "modified", "merged", "declined", "deleted")
)
_AZURE_PULLS = frozenset(("git.pullrequest.created", "git.pullrequest.updated", "git.pullrequest.merged"))


@dataclass(frozen=True, slots=True)
class Told:
    """The contents of a payload; all of them are hints."""

    kind: HookKind
    ref: str | None = None
    number: int | None = None
    repositories: tuple[str, ...] = ()
    """Full names and URLs of the repository it is about."""
    delivery: str | None = None


def told(forge: str, headers: Mapping[str, str], payload: Any) -> Told:
    """Read a parsed body; ``headers`` in lower case."""
    return _READERS[forge](headers, _Node(payload))


class _Node:
    """A value somewhere in JSON that may not be there, or may be of any type."""

    __slots__ = ("_value",)

    def __init__(self, value: Any) -> None:
        self._value = value

    def __getitem__(self, key: str) -> "_Node":
        return _Node(self._value.get(key) if isinstance(self._value, dict) else None)

    @property
    def exists(self) -> bool:
        return self._value is not None

    @property
    def text(self) -> str | None:
        value = self._value
        return value if isinstance(value, str) and 0 < len(value) <= _LONGEST_REF else None

    @property
    def number(self) -> int | None:
        value = self._value
        if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _HIGHEST_NUMBER:
            return value
        return None

    @property
    def items(self) -> "list[_Node]":
        return [_Node(item) for item in self._value[:_MOST_CHANGES]] if isinstance(self._value, list) else []


def _github(headers: Mapping[str, str], payload: _Node) -> Told:
    return _like_github(headers.get("x-github-event", ""), payload)


def _gitea(headers: Mapping[str, str], payload: _Node) -> Told:
    """Gitea and Forgejo, who each send the other's headers too, and GitHub's."""
    return _like_github(headers.get("x-forgejo-event") or headers.get("x-gitea-event", ""), payload)


def _like_github(event: str, payload: _Node) -> Told:
    repository = payload["repository"]
    about = _texts(repository, "full_name", "clone_url", "ssh_url", "html_url", "git_url", "url")
    match event:
        case "push":
            return _pushed([payload["ref"].text], about)
        case "create" | "delete":
            prefix = _TAGS if payload["ref_type"].text == "tag" else _HEADS
            return _pushed([_full(prefix, payload["ref"].text)], about)
        case "pull_request" | "pull_request_sync":
            return _pulled(payload["number"].number or payload["pull_request"]["number"].number, about)
        case "merge_group":
            return _pushed([payload["merge_group"]["head_ref"].text], about)
        case "ping":
            return Told("ping", repositories=about)
        case _:
            return Told("other", repositories=about)


def _gitlab(_headers: Mapping[str, str], payload: _Node) -> Told:
    """Project, group and system hooks: only the body tells them apart."""
    project = payload["project"]
    about = _texts(project, "path_with_namespace", "git_http_url", "git_ssh_url", "web_url", "http_url", "ssh_url")
    match payload["object_kind"].text or payload["event_name"].text:
        case "push" | "tag_push":
            return _pushed([payload["ref"].text], about)
        case "repository_update":
            return _pushed([ref.text for ref in payload["refs"].items], about)
        case "merge_request":
            attributes = payload["object_attributes"]
            return _pulled(attributes["iid"].number, about or _texts(attributes["target"], "path_with_namespace"))
        case _:
            return Told("other", repositories=about)


def _bitbucket(headers: Mapping[str, str], payload: _Node) -> Told:
    """Bitbucket Cloud, and Bitbucket Data Center, which says the same in other words."""
    event = headers.get("x-event-key", "")
    pull = payload["pullRequest"]
    about = _bitbucket_repository(payload["repository"]) or _bitbucket_repository(pull["toRef"]["repository"])
    if event == "repo:push":
        sides = [
            change["new"] if change["new"].exists else change["old"] for change in payload["push"]["changes"].items
        ]
        refs = [_full(_TAGS if side["type"].text == "tag" else _HEADS, side["name"].text) for side in sides]
        return _pushed(refs, about)
    if event == "repo:refs_changed":
        return _pushed([change["ref"]["id"].text for change in payload["changes"].items], about)
    if event in _CLOUD_PULLS | _CENTER_PULLS:
        return _pulled(payload["pullrequest"]["id"].number or pull["id"].number, about)
    return Told("ping" if event == "diagnostics:ping" else "other", repositories=about)


def _bitbucket_repository(repository: _Node) -> tuple[str, ...]:
    names = [*_texts(repository, "full_name"), *_texts(repository["links"]["html"], "href")]
    names += [url for link in repository["links"]["clone"].items for url in _texts(link, "href")]
    project, slug = repository["project"]["key"].text, repository["slug"].text
    if not names and project and slug:
        names.append(f"{project}/{slug}")
    return tuple(names)


def _azure(_headers: Mapping[str, str], payload: _Node) -> Told:
    resource = payload["resource"]
    repository = resource["repository"]
    about = _texts(repository, "remoteUrl", "sshUrl", "webUrl")
    project, name = repository["project"]["name"].text, repository["name"].text
    if not about and project and name:
        about = (f"{project}/{name}",)
    event = payload["eventType"].text
    if event == "git.push":
        return replace(
            _pushed([update["name"].text for update in resource["refUpdates"].items], about),
            delivery=payload["id"].text,
        )
    if event in _AZURE_PULLS:
        return replace(_pulled(resource["pullRequestId"].number, about), delivery=payload["id"].text)
    return Told("other", repositories=about, delivery=payload["id"].text)


def _generic(_headers: Mapping[str, str], payload: _Node) -> Told:
    """A webhook of any sender that can sign: ``{"event", "ref", "number", "repository"}``, each optional."""
    named = payload["repository"]
    about = _texts(payload, "repository") or _texts(named, "full_name", "name", "clone_url", "ssh_url", "url")
    event = payload["event"].text or ("pull_request" if payload["number"].exists else "push")
    match event:
        case "push" | "tag":
            told_of = _pushed([payload["ref"].text], about)
            return replace(told_of, kind="tag") if event == "tag" else told_of
        case "pull_request":
            return _pulled(payload["number"].number, about)
        case "ping":
            return Told("ping", repositories=about)
        case _:
            return Told("other", repositories=about)


_READERS: Mapping[str, Callable[[Mapping[str, str], _Node], Told]] = {
    "github": _github,
    "gitlab": _gitlab,
    "gitea": _gitea,
    "forgejo": _gitea,
    "bitbucket": _bitbucket,
    "azure": _azure,
    "generic": _generic,
}

FORGES = tuple(_READERS)


def _pushed(refs: Sequence[str | None], about: tuple[str, ...]) -> Told:
    """One ref is a hint; of several, none is."""
    known = [ref for ref in refs if ref is not None]
    kind: HookKind = "tag" if known and all(ref.startswith(_TAGS) for ref in known) else "push"
    return Told(kind, ref=known[0] if len(refs) == len(known) == 1 else None, repositories=about)


def _pulled(number: int | None, about: tuple[str, ...]) -> Told:
    return Told("pull_request", number=number, repositories=about)


def _full(prefix: str, name: str | None) -> str | None:
    return None if name is None else name if name.startswith("refs/") else prefix + name


def _texts(node: _Node, *keys: str) -> tuple[str, ...]:
    return tuple(text for key in keys if (text := node[key].text) is not None)
