"""What forges send to webhooks: headers and bodies, in the shapes they document. ``sign`` adds the proof.

Shapes: docs.github.com "Webhook events and payloads"; docs.gitlab.com "Webhook events"; docs.gitea.com and forgejo.org
"Webhooks"; support.atlassian.com "Event payloads" (Bitbucket Cloud; its ping is Data Center's); learn.microsoft.com
"Service hook events" (Azure DevOps). ``generic`` is what a script sends.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal
from uuid import NAMESPACE_URL, uuid5

from servers.forge.signatures import ForgeName, sign

__all__ = ["FORGES", "NOTHING", "PINGING", "Action", "EventName", "Facts", "ForgeName", "payload", "sign"]

EventName = Literal["push", "tag", "pull_request", "ping"]
Action = Literal["opened", "updated", "closed"]
FORGES: tuple[ForgeName, ...] = ("github", "gitlab", "gitea", "forgejo", "bitbucket", "azure", "generic")
PINGING: frozenset[ForgeName] = frozenset({"github", "bitbucket", "generic"})
"""The forges that have a ping; the others test a webhook with an ordinary event."""
NOTHING = "0" * 40
"""The commit before a branch was made, and after it was deleted."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What happened."""

    repository: str = "acme/shelves"
    ref: str = "main"
    """The branch or tag, without ``refs/…/``."""
    before: str = "1" * 40
    after: str = "2" * 40
    number: int = 7
    title: str = "Train longer"
    action: Action = "opened"
    head: str = "3" * 40
    head_branch: str = "longer"
    base: str = "main"
    base_commit: str = "1" * 40
    merged: bool = False
    user: str = "ada"
    host: str = "https://forge.example"
    delivery: str = ""
    """The delivery's id; by default made from the event and the rest, so that equal deliveries have equal ids."""

    @property
    def url(self) -> str:
        """Where the repository is seen."""
        return f"{self.host}/{self.repository}"

    @property
    def deleted(self) -> bool:
        """Whether the branch or tag was deleted."""
        return self.after == NOTHING


def payload(forge: ForgeName, event: EventName, **facts: Any) -> tuple[dict[str, str], bytes]:
    """Make a delivery: its headers, without the signature, and its body. The facts are the fields of ``Facts``.

    Raises:
        ValueError: The forge has no ping.
        TypeError: There is no such fact.
    """
    if event == "ping" and forge not in PINGING:
        raise ValueError(f"{forge} has no ping")
    if event == "tag":
        facts = {"ref": "v1.0.0", "before": NOTHING} | facts
    known = Facts(**facts)
    known = replace(known, delivery=known.delivery or str(uuid5(NAMESPACE_URL, f"{event} {known!r}")))
    headers, body = _BUILDERS[forge](event, known)
    return {"Content-Type": "application/json"} | headers, json.dumps(body).encode()


_Made = tuple[dict[str, str], dict[str, Any]]


def _full_ref(event: EventName, facts: Facts) -> str:
    return f"refs/{'tags' if event == 'tag' else 'heads'}/{facts.ref}"


def _repository(facts: Facts) -> dict[str, Any]:
    """GitHub's form, which Gitea and Forgejo share."""
    owner, _, name = facts.repository.rpartition("/")
    return {
        "id": 140,
        "name": name,
        "full_name": facts.repository,
        "owner": {"id": 1, "login": owner},
        "private": True,
        "html_url": facts.url,
        "clone_url": f"{facts.url}.git",
        "ssh_url": f"git@{facts.host.split('//')[-1]}:{facts.repository}.git",
        "default_branch": "main",
    }


def _commit(facts: Facts) -> dict[str, Any]:
    person = {"name": facts.user, "email": f"{facts.user}@forge.example", "username": facts.user}
    return {
        "id": facts.after,
        "message": facts.title,
        "url": f"{facts.url}/commit/{facts.after}",
        "author": person,
        "committer": person,
        "timestamp": "2026-01-05T08:00:00Z",
        "added": [],
        "removed": [],
        "modified": ["models/shelf-stock.yaml"],
    }


def _pull_request(facts: Facts) -> dict[str, Any]:
    """GitHub's form, which Gitea and Forgejo share."""
    repository = _repository(facts)
    return {
        "id": 9000 + facts.number,
        "number": facts.number,
        "title": facts.title,
        "state": "closed" if facts.action == "closed" else "open",
        "merged": facts.merged,
        "user": {"login": facts.user},
        "html_url": f"{facts.url}/pull/{facts.number}",
        "head": {"ref": facts.head_branch, "sha": facts.head, "repo": repository},
        "base": {"ref": facts.base, "sha": facts.base_commit, "repo": repository},
        "updated_at": "2026-01-05T08:00:00Z",
    }


def _github(event: EventName, facts: Facts) -> _Made:
    name = "push" if event == "tag" else event
    headers = {
        "X-GitHub-Event": name,
        "X-GitHub-Delivery": facts.delivery,
        "X-GitHub-Hook-ID": "42",
        "X-GitHub-Hook-Installation-Target-Type": "repository",
        "X-GitHub-Hook-Installation-Target-ID": "140",
        "User-Agent": "GitHub-Hookshot/044aadd",
    }
    common = {"repository": _repository(facts), "sender": {"login": facts.user, "id": 1}}
    match event:
        case "ping":
            return headers, common | {
                "zen": "Keep it logically awesome.",
                "hook_id": 42,
                "hook": {"type": "Repository"},
            }
        case "pull_request":
            action = {"updated": "synchronize"}.get(facts.action, facts.action)
            body = {"action": action, "number": facts.number, "pull_request": _pull_request(facts)}
            if action == "synchronize":
                body |= {"before": facts.before, "after": facts.head}
            return headers, common | body
        case "push" | "tag":
            return headers, common | {
                "ref": _full_ref(event, facts),
                "before": facts.before,
                "after": facts.after,
                "created": facts.before == NOTHING,
                "deleted": facts.deleted,
                "forced": False,
                "compare": f"{facts.url}/compare/{facts.before[:12]}...{facts.after[:12]}",
                "pusher": {"name": facts.user, "email": f"{facts.user}@forge.example"},
                "commits": [] if facts.deleted else [_commit(facts)],
                "head_commit": None if facts.deleted else _commit(facts),
            }


def _gitea(event: EventName, facts: Facts, names: tuple[str, ...] = ("Gitea", "Gogs", "GitHub")) -> _Made:
    """Gitea speaks like Gogs and GitHub too, in headers; an update is ``synchronized``, not ``synchronize``."""
    name = "push" if event == "tag" else event
    kind = "pull_request_sync" if event == "pull_request" and facts.action == "updated" else name
    headers: dict[str, str] = {}
    for sender in names:
        headers |= {f"X-{sender}-Delivery": facts.delivery, f"X-{sender}-Event": name, f"X-{sender}-Event-Type": kind}
    common = {"repository": _repository(facts), "sender": {"login": facts.user, "id": 1}}
    if event == "pull_request":
        action = {"updated": "synchronized"}.get(facts.action, facts.action)
        return headers, common | {
            "action": action,
            "number": facts.number,
            "pull_request": _pull_request(facts),
            "commit_id": "",
            "review": None,
        }
    return headers, common | {
        "ref": _full_ref(event, facts),
        "before": facts.before,
        "after": facts.after,
        "compare_url": f"{facts.url}/compare/{facts.before}...{facts.after}",
        "commits": [] if facts.deleted else [_commit(facts)],
        "total_commits": 0 if facts.deleted else 1,
        "head_commit": None if facts.deleted else _commit(facts),
        "pusher": {"login": facts.user, "id": 1},
    }


def _forgejo(event: EventName, facts: Facts) -> _Made:
    return _gitea(event, facts, names=("Forgejo", "Gitea", "Gogs", "GitHub"))


def _gitlab(event: EventName, facts: Facts) -> _Made:
    hook = {"push": "Push Hook", "tag": "Tag Push Hook", "pull_request": "Merge Request Hook"}[event]
    headers = {
        "X-Gitlab-Event": hook,
        "X-Gitlab-Instance": facts.host,
        "X-Gitlab-Webhook-UUID": "13792a34-cac6-4fda-95a8-c58e00a3954e",
        "X-Gitlab-Event-UUID": facts.delivery,
        "Idempotency-Key": facts.delivery,
        "User-Agent": "GitLab/18.6.0",
    }
    project = {
        "id": 15,
        "name": facts.repository.rpartition("/")[2],
        "web_url": facts.url,
        "git_ssh_url": f"git@{facts.host.split('//')[-1]}:{facts.repository}.git",
        "git_http_url": f"{facts.url}.git",
        "path_with_namespace": facts.repository,
        "default_branch": "main",
    }
    if event == "pull_request":
        return headers, _merge_request(facts, project)
    return headers, {
        "object_kind": "tag_push" if event == "tag" else "push",
        "event_name": "tag_push" if event == "tag" else "push",
        "before": facts.before,
        "after": facts.after,
        "ref": _full_ref(event, facts),
        "checkout_sha": None if facts.deleted else facts.after,
        "user_id": 4,
        "user_username": facts.user,
        "project_id": 15,
        "project": project,
        "commits": [] if facts.deleted else [_commit(facts)],
        "total_commits_count": 0 if facts.deleted else 1,
    }


def _merge_request(facts: Facts, project: Mapping[str, Any]) -> dict[str, Any]:
    action = {"opened": "open", "updated": "update", "closed": "merge" if facts.merged else "close"}[facts.action]
    state = {"open": "opened", "update": "opened", "close": "closed", "merge": "merged"}[action]
    attributes: dict[str, Any] = {
        "id": 9000 + facts.number,
        "iid": facts.number,
        "title": facts.title,
        "state": state,
        "action": action,
        "source_branch": facts.head_branch,
        "target_branch": facts.base,
        "source_project_id": 15,
        "target_project_id": 15,
        "last_commit": _commit(facts) | {"id": facts.head},
        "url": f"{facts.url}/-/merge_requests/{facts.number}",
        "updated_at": "2026-01-05 08:00:00 UTC",
    }
    if action == "update":
        attributes["oldrev"] = facts.before
    return {
        "object_kind": "merge_request",
        "event_type": "merge_request",
        "user": {"id": 4, "username": facts.user},
        "project": dict(project),
        "repository": {"name": project["name"], "homepage": facts.url},
        "object_attributes": attributes,
        "labels": [],
        "changes": {},
    }


def _bitbucket(event: EventName, facts: Facts) -> _Made:
    key = {"opened": "created", "updated": "updated", "closed": "fulfilled" if facts.merged else "rejected"}
    names = {"push": "repo:push", "tag": "repo:push", "ping": "diagnostics:ping"}
    headers = {
        "X-Event-Key": names.get(event, f"pullrequest:{key[facts.action]}"),
        "X-Hook-UUID": "{13792a34-cac6-4fda-95a8-c58e00a3954e}",
        "X-Request-UUID": facts.delivery,
        "X-Attempt-Number": "1",
        "User-Agent": "Bitbucket-Webhooks/2.0",
    }
    if event == "ping":
        return headers, {"test": True}
    repository = {
        "type": "repository",
        "name": facts.repository.rpartition("/")[2],
        "full_name": facts.repository,
        "links": {"html": {"href": facts.url}},
    }
    common = {"actor": {"type": "user", "display_name": facts.user}, "repository": repository}
    if event == "pull_request":
        state = {"created": "OPEN", "updated": "OPEN", "fulfilled": "MERGED", "rejected": "DECLINED"}
        return headers, common | {
            "pullrequest": {
                "id": facts.number,
                "title": facts.title,
                "state": state[key[facts.action]],
                "source": _bitbucket_end(facts.head_branch, facts.head, repository),
                "destination": _bitbucket_end(facts.base, facts.base_commit, repository),
                "links": {"html": {"href": f"{facts.url}/pull-requests/{facts.number}"}},
            }
        }
    kind = "tag" if event == "tag" else "branch"
    old = None if facts.before == NOTHING else _bitbucket_ref(kind, facts.ref, facts.before)
    new = None if facts.deleted else _bitbucket_ref(kind, facts.ref, facts.after)
    change = {"old": old, "new": new, "created": old is None, "closed": new is None, "forced": False}
    return headers, common | {"push": {"changes": [change]}}


def _bitbucket_ref(kind: str, name: str, commit: str) -> dict[str, Any]:
    return {"type": kind, "name": name, "target": {"type": "commit", "hash": commit}}


def _bitbucket_end(branch: str, commit: str, repository: Mapping[str, Any]) -> dict[str, Any]:
    return {"branch": {"name": branch}, "commit": {"hash": commit[:12]}, "repository": dict(repository)}


def _azure(event: EventName, facts: Facts) -> _Made:
    """A closed pull request is an update whose status is ``completed`` or ``abandoned``."""
    project, _, name = facts.repository.rpartition("/")
    repository = {
        "id": "278d5cd2-584d-4b63-824a-2ba458937249",
        "name": name,
        "project": {"id": "6ce954b1-ce1f-45d1-b94d-e6bf2464ba2c", "name": project},
        "defaultBranch": "refs/heads/main",
        "remoteUrl": f"{facts.host}/{project}/_git/{name}",
    }
    if event == "pull_request":
        kind = "git.pullrequest.created" if facts.action == "opened" else "git.pullrequest.updated"
        closed = "completed" if facts.merged else "abandoned"
        resource: dict[str, Any] = {
            "pullRequestId": facts.number,
            "title": facts.title,
            "status": closed if facts.action == "closed" else "active",
            "sourceRefName": f"refs/heads/{facts.head_branch}",
            "targetRefName": f"refs/heads/{facts.base}",
            "lastMergeSourceCommit": {"commitId": facts.head},
            "lastMergeTargetCommit": {"commitId": facts.base_commit},
            "repository": repository,
        }
    else:
        kind = "git.push"
        update = {"name": _full_ref(event, facts), "oldObjectId": facts.before, "newObjectId": facts.after}
        resource = {"refUpdates": [update], "commits": [], "repository": repository, "pushId": 14}
    return {}, {
        "subscriptionId": "00000000-0000-0000-0000-000000000000",
        "notificationId": 3,
        "id": facts.delivery,
        "eventType": kind,
        "publisherId": "tfs",
        "message": {"text": f"{facts.user}: {facts.title}"},
        "resource": resource,
        "resourceVersion": "1.0",
        "createdDate": "2026-01-05T08:00:00.000Z",
    }


def _generic(event: EventName, facts: Facts) -> _Made:
    if event == "pull_request":
        return {}, {"repository": facts.repository, "number": facts.number, "head": facts.head, "base": facts.base}
    if event == "ping":
        return {}, {"event": "ping"}
    return {}, {"repository": facts.repository, "ref": _full_ref(event, facts), "after": facts.after}


_BUILDERS: Mapping[ForgeName, Callable[[EventName, Facts], _Made]] = {
    "github": _github,
    "gitlab": _gitlab,
    "gitea": _gitea,
    "forgejo": _forgejo,
    "bitbucket": _bitbucket,
    "azure": _azure,
    "generic": _generic,
}
