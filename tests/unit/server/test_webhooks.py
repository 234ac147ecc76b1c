"""Webhooks of every forge: who is believed, what is understood, whose repository it is."""

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

import pytest

from edgewright.secret import Secret
from edgewright.server.hooks.signatures import is_authentic
from edgewright.server.hooks.webhooks import Hook, Refusal, RepositoryNames, read_webhook
from samples.forge_payloads import FORGES, NOTHING, PINGING, EventName, ForgeName, payload, sign

SECRET = "correct horse battery staple"
ANY = RepositoryNames()
OURS = RepositoryNames.of(["acme/shelves"])


def delivered(
    forge: ForgeName, event: EventName, *, secret: str = SECRET, names: RepositoryNames = OURS, **facts: Any
) -> Hook | Refusal:
    headers, body = payload(forge, event, **facts)
    return read_webhook(forge, sign(forge, secret, headers, body), body, [Secret(SECRET)], names)


def signed(forge: ForgeName, content: Any, headers: Mapping[str, str] | None = None) -> Hook | Refusal:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    headers = {"Content-Type": "application/json"} | dict(headers or {})
    return read_webhook(forge, sign(forge, SECRET, headers, body), body, [Secret(SECRET)], OURS)


def reason(outcome: Hook | Refusal) -> str:
    assert isinstance(outcome, Refusal), outcome
    return outcome.reason


def hook(outcome: Hook | Refusal) -> Hook:
    assert isinstance(outcome, Hook), outcome
    return outcome


@pytest.mark.parametrize("forge", FORGES)
def test_every_forge_is_understood(forge: ForgeName) -> None:
    push, tag = hook(delivered(forge, "push")), hook(delivered(forge, "tag"))
    pull = hook(delivered(forge, "pull_request", number=12, delivery="d-1"))
    assert (push.kind, push.ref, push.number) == ("push", "refs/heads/main", None)
    assert (tag.kind, tag.ref) == ("tag", "refs/tags/v1.0.0")
    assert (pull.kind, pull.number) == ("pull_request", 12)
    assert push.wakes and tag.wakes and pull.wakes
    assert pull.delivery == (None if forge == "generic" else "d-1")


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("action", ["updated", "closed"])
def test_a_pull_request_wakes_whatever_happened_to_it(forge: ForgeName, action: str) -> None:
    assert hook(delivered(forge, "pull_request", action=action)).number == 7
    assert hook(delivered(forge, "pull_request", action="closed", merged=True)).number == 7


@pytest.mark.parametrize("forge", FORGES)
def test_a_deleted_branch_is_a_push(forge: ForgeName) -> None:
    assert hook(delivered(forge, "push", ref="old", after=NOTHING)).ref == "refs/heads/old"


@pytest.mark.parametrize("forge", sorted(PINGING))
def test_a_ping_wakes_nobody(forge: ForgeName) -> None:
    outcome = hook(delivered(forge, "ping"))
    assert outcome.kind == "ping"
    assert not outcome.wakes


def test_a_merge_group_wakes_as_the_push_of_its_branch() -> None:
    ref = "refs/heads/gh-readonly-queue/main/pr-7-" + "1" * 40
    body = {"action": "checks_requested", "merge_group": {"head_ref": ref, "head_sha": "2" * 40}}
    found = hook(signed("github", body, {"X-GitHub-Event": "merge_group"}))
    assert (found.kind, found.ref, found.wakes) == ("push", ref, True)


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("event", ["push", "pull_request"])
def test_another_repository_is_told_apart(forge: ForgeName, event: EventName) -> None:
    assert reason(delivered(forge, event, repository="acme/other")) == "other-repository"
    assert reason(delivered(forge, event, repository="evil/shelves")) == "other-repository"
    assert hook(delivered(forge, event, repository="acme/other", names=ANY)).wakes


@pytest.mark.parametrize("forge", FORGES)
def test_only_the_secret_is_believed(forge: ForgeName) -> None:
    headers, body = payload(forge, "push")
    proven = sign(forge, SECRET, headers, body)
    assert reason(delivered(forge, "push", secret="another")) == "not-authentic"
    assert reason(read_webhook(forge, headers, body, [Secret(SECRET)], ANY)) == "not-authentic"
    assert reason(read_webhook(forge, proven, body, [], ANY)) == "no-secret"
    if forge not in {"gitlab", "azure"}:  # theirs prove the sender, and not the body
        assert reason(read_webhook(forge, proven, body + b" ", [Secret(SECRET)], ANY)) == "not-authentic"


@pytest.mark.parametrize("forge", FORGES)
def test_an_empty_secret_is_none(forge: ForgeName) -> None:
    headers, body = payload(forge, "push")
    proven = sign(forge, "", headers, body)
    assert reason(read_webhook(forge, proven, body, [Secret(""), Secret("  ")], ANY)) == "no-secret"
    assert reason(read_webhook(forge, proven, body, [Secret(""), Secret(SECRET)], ANY)) == "not-authentic"


@pytest.mark.parametrize("forge", FORGES)
@pytest.mark.parametrize("secret", ["old one", "new one", "pässwörd ☃"])
def test_secrets_are_changed_without_a_gap(forge: ForgeName, secret: str) -> None:
    headers, body = payload(forge, "push")
    proven = {
        name: value.encode().decode("latin-1")  # as servers hand headers on
        for name, value in sign(forge, secret, headers, body).items()
    }
    secrets = [Secret("old one"), Secret("new one"), Secret("pässwörd ☃")]
    assert hook(read_webhook(forge, proven, body, secrets, ANY)).kind == "push"


@pytest.mark.parametrize("forge", FORGES)
def test_one_forges_proof_is_none_for_another(forge: ForgeName) -> None:
    headers, body = payload(forge, "push")
    proven = sign(forge, SECRET, headers, body)
    siblings = {"gitea": {"forgejo", "github"}, "forgejo": {"gitea", "github"}}.get(forge, set())
    for other in set(FORGES) - {forge} - siblings:
        assert reason(read_webhook(other, proven, body, [Secret(SECRET)], ANY)) == "not-authentic"


@pytest.mark.parametrize(
    ("forge", "secret", "body", "headers"),
    [
        (  # docs.github.com, "Validating webhook deliveries"
            "github",
            "It's a Secret to Everybody",
            b"Hello, World!",
            {"x-hub-signature-256": "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17"},
        ),
        (  # support.atlassian.com, "Manage webhooks"
            "bitbucket",
            "It's a Secret to Everybody",
            b"Hello World!",
            {"x-hub-signature": "sha256=a4771c39fbe90f317c7824e83ddef3caae9cb3d976c214ace1f2937e133263c9"},
        ),
        (  # RFC 4231, test case 2
            "gitea",
            "Jefe",
            b"what do ya want for nothing?",
            {"x-gitea-signature": "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        ),
        (  # docs.svix.com, "Verifying webhooks manually", which became Standard Webhooks
            "gitlab",
            "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            b'{"test": 2432232314}',
            {
                "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
                "webhook-timestamp": "1614265330",
                "webhook-signature": "v1,bm9ldHUjKzFob2VudXRob2VodWUzMjRvdWVvdW9ldQo= "
                "v2,MzJsNDk4MzI0K2VvdSMjMTEjQEBAQDEyMzMzMzEyMwo= "
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            },
        ),
        (  # RFC 7617, section 2
            "azure",
            "open sesame",
            b"{}",
            {"authorization": "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="},
        ),
    ],
)
def test_published_signatures_are_accepted(forge: str, secret: str, body: bytes, headers: dict[str, str]) -> None:
    assert is_authentic(forge, headers, body, [Secret(secret)])
    assert not is_authentic(forge, headers, body, [Secret(secret + "x")])
    if forge != "azure":
        assert not is_authentic(forge, headers, body + b"x", [Secret(secret)])


def test_sha1_alone_is_refused() -> None:
    headers, body = payload("github", "push")
    old = hmac.new(SECRET.encode(), body, hashlib.sha1).hexdigest()
    for name in ("X-Hub-Signature", "X-Hub-Signature-256"):
        proven = headers | {name: f"sha1={old}"}
        assert reason(read_webhook("github", proven, body, [Secret(SECRET)], ANY)) == "not-authentic"


def test_a_bad_signature_is_not_rescued_by_a_good_one_beside_it() -> None:
    headers, body = payload("forgejo", "push")
    proven = sign("forgejo", SECRET, headers, body) | {"X-Forgejo-Signature": "0" * 64}
    assert reason(read_webhook("forgejo", proven, body, [Secret(SECRET)], ANY)) == "not-authentic"
    headers, body = payload("gitlab", "push")
    proven = sign("gitlab", SECRET, headers, body) | {"webhook-signature": "v1,AAAA", "webhook-id": "1"}
    assert reason(read_webhook("gitlab", proven, body, [Secret(SECRET)], ANY)) == "not-authentic"


def test_gitlabs_signing_token_covers_body_id_and_time() -> None:
    token = "whsec_dGVzdHRlc3R0ZXN0dGVzdHRlc3R0ZXN0dGVzdHRlc3Q="
    headers, body = payload("gitlab", "push")
    proven = sign("gitlab", token, headers, body)
    secrets = [Secret(token)]
    assert hook(read_webhook("gitlab", proven, body, secrets, OURS)).kind == "push"
    assert reason(read_webhook("gitlab", proven, body + b" ", secrets, OURS)) == "not-authentic"
    for name in ("webhook-id", "webhook-timestamp"):
        assert reason(read_webhook("gitlab", proven | {name: "1"}, body, secrets, OURS)) == "not-authentic"
        without = {key: value for key, value in proven.items() if key != name}
        assert reason(read_webhook("gitlab", without, body, secrets, OURS)) == "not-authentic"


def test_nothing_is_parsed_before_it_is_authentic() -> None:
    deep = b"[" * 100_000
    headers = {"Content-Type": "application/json", "X-GitHub-Event": "push"}
    assert reason(read_webhook("github", headers, deep, [Secret(SECRET)], ANY)) == "not-authentic"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"hello",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b"[]",
        b"null",
        b'"push"',
        b"\xff\xfe\x00",
        b'{"ref": ' + b"9" * 5_000 + b"}",
    ],
)
def test_nonsense_from_a_known_sender_is_refused(body: bytes) -> None:
    assert reason(signed("github", body, {"X-GitHub-Event": "push"})) == "malformed"


def test_odd_json_is_harmless() -> None:
    twice = b'{"ref": "refs/heads/a", "ref": "refs/heads/b", "number": NaN, "repository": {"full_name": Infinity}}'
    assert hook(signed("github", twice, {"X-GitHub-Event": "push"})).kind == "push"
    for number in (True, -1, 0, 2**31, 1.0, "7", [7], None):
        pull = hook(signed("github", {"number": number}, {"X-GitHub-Event": "pull_request"}))
        assert (pull.kind, pull.number) == ("pull_request", None)


def test_form_encoded_payloads_are_read() -> None:
    headers, body = payload("github", "push", title="a & b = c + ü")
    form = urlencode({"payload": body.decode()}).encode()
    headers["Content-Type"] = "application/x-www-form-urlencoded"
    assert hook(signed("github", form, headers)).ref == "refs/heads/main"
    assert reason(signed("github", b"other=1", headers)) == "malformed"
    assert reason(signed("github", b"&".join([b"payload=1"] * 1000), headers)) == "malformed"
    assert reason(signed("gitlab", form, headers)) == "unsupported"
    assert reason(signed("github", b"<a/>", headers | {"Content-Type": "application/xml"})) == "unsupported"


def test_events_nothing_depends_on_wake_nobody() -> None:
    about = {"repository": {"full_name": "acme/shelves"}, "project": {"path_with_namespace": "acme/shelves"}}
    others = [
        signed("github", about | {"issue": {"number": 7}}, {"X-GitHub-Event": "issue_comment"}),
        signed("gitea", about, {"X-Gitea-Event": "pull_request_comment"}),
        signed("gitlab", about | {"object_kind": "note"}),
        signed("bitbucket", about | {"pullrequest": {"id": 7}}, {"X-Event-Key": "pullrequest:comment_created"}),
        signed("azure", {"eventType": "ms.vss-code.git-pullrequest-comment-event"}),
        signed("generic", {"event": "lunch"}),
        signed("github", {}),
    ]
    assert [hook(other).kind for other in others] == ["other"] * len(others)
    assert not any(hook(other).wakes for other in others)


def test_bitbucket_data_center_and_gitlab_system_hooks_are_understood() -> None:
    repository = {"slug": "shelves", "project": {"key": "ACME"}}
    changes = [{"ref": {"id": "refs/heads/main"}}]
    pushed = hook(
        signed("bitbucket", {"repository": repository, "changes": changes}, {"X-Event-Key": "repo:refs_changed"})
    )
    assert (pushed.kind, pushed.ref) == ("push", "refs/heads/main")
    pull = {"id": 3, "toRef": {"repository": repository}}
    opened = hook(signed("bitbucket", {"pullRequest": pull}, {"X-Event-Key": "pr:from_ref_updated"}))
    assert (opened.kind, opened.number) == ("pull_request", 3)
    project = {"path_with_namespace": "acme/shelves"}
    system = {"event_name": "repository_update", "project": project, "refs": ["refs/heads/a", "refs/heads/b"]}
    assert (hook(signed("gitlab", system)).kind, hook(signed("gitlab", system)).ref) == ("push", None)


def test_a_script_needs_no_body() -> None:
    assert hook(signed("generic", b"")) == Hook("push", "generic")
    assert hook(signed("generic", {"number": 4})) == Hook("pull_request", "generic", number=4)


def test_a_script_needs_no_content_type() -> None:
    plain = {"Content-Type": "text/plain"}
    assert hook(signed("generic", {"number": 4}, plain)) == Hook("pull_request", "generic", number=4)
    assert reason(signed("generic", b"number=4", plain)) == "malformed"
    assert reason(signed("gitlab", {"number": 4}, plain)) == "unsupported"


def test_a_deliverys_name_cannot_write_into_the_log() -> None:
    outcome = signed("github", {}, {"X-GitHub-Event": "ping", "X-GitHub-Delivery": "a\r\nb \x1b[31m" + "c" * 500})
    assert (hook(outcome).delivery or "")[:6] == "ab31mc"
    assert len(hook(outcome).delivery or "") <= 128


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("acme/shelves", "Acme/Shelves"),
        ("https://github.com/acme/shelves.git", "acme/shelves"),
        ("git@github.com:acme/shelves.git", "https://github.com/acme/shelves"),
        ("ssh://git@git.example:2222/acme/shelves.git/", "https://git.example:3000/acme/shelves.git"),
        ("https://token@git.example/gitea/acme/shelves", "acme/shelves"),
        ("work-alias:acme/shelves", "git@gitlab.example:acme/shelves.git"),
        ("https://gitlab.example/a/b/c.git", "a/b/c"),
        ("ssh://git@bitbucket.example:7999/acme/shelves.git", "https://bitbucket.example/scm/ACME/shelves.git"),
        ("git@ssh.dev.azure.com:v3/org/My%20Project/specs", "https://dev.azure.com/org/My%20Project/_git/specs"),
        ("https://dev.azure.com/org/proj/_git/specs", "https://org.visualstudio.com/DefaultCollection/proj/_git/specs"),
        ("https://dev.azure.com/org/_git/specs", "https://dev.azure.com/org/specs/_git/specs"),
    ],
)
def test_a_repository_is_known_by_all_its_names(ours: str, theirs: str) -> None:
    assert RepositoryNames.of([ours]).include([theirs])
    assert RepositoryNames.of([theirs]).include([ours])


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("acme/shelves", "acme/shelves-2"),
        ("acme/shelves", "bigacme/shelves"),
        ("acme/shelves", "shelves"),
        ("https://github.com/acme/shelves", "https://github.com/acme"),
        ("https://dev.azure.com/org/proj/_git/specs", "https://dev.azure.com/org/other/_git/specs"),
    ],
)
def test_other_names_are_other_repositories(ours: str, theirs: str) -> None:
    assert not RepositoryNames.of([ours]).include([theirs])


def test_names_that_say_nothing_leave_nothing_out() -> None:
    assert RepositoryNames.of([]).include(["acme/shelves"])
    assert RepositoryNames.of(["/srv/git/specs.git", "file:///srv/git/specs.git", "."]).include(["acme/shelves"])
    assert RepositoryNames.of(["acme/shelves"]).include([])
