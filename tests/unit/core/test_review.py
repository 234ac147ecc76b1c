"""Reviews: what a change takes away of safety is said, and what only looks like it is not."""

import base64
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest

from edgewright.core.planning.assumed import assume_applied
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.planner import plan
from edgewright.core.review.review import ReviewWarning, review
from edgewright.core.review.secrets import HIDDEN, plan_without, secret_values
from edgewright.core.signatures import Signature, SignatureState
from edgewright.core.snapshot import Snapshot
from fakes.source import snapshot_of
from paths import TESTS
from samples.plan_cases import edited, read_yaml

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
_KEY = b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)
SIGNERS = f"ada@example.com ssh-ed25519 {base64.b64encode(_KEY).decode()}\n"
SHOP = {
    **read_yaml((TESTS / "golden/repositories/shop.yaml").read_text()),
    "keys": SIGNERS,
    "more": SIGNERS,
}
GATES = "spec/gates"
OVERALL = {"metric": "accuracy", "min": 0.95}
SLICES = {"metric": "accuracy", "slice": {"store": "*"}, "min": 0.9}
CHAMPION = {"metric": "accuracy", "maxDegradation": 0.01, "against": "champion"}
SIZE = {"metric": "sizeBytes", "max": "400KiB"}
CANARY = {"select": {"matchLabels": {"ring": "canary"}}}
HALF = {"percent": 50, "soak": "30m"}
ALL = {"percent": 100}
FIRST = {"approval": {"beforeWave": 1}}
OUTSIDE = {"uri": "https://data.example/tags.csv", "format": "csv", "digest": "sha256:" + "1" * 64}
DAYS = {"cron": "0 22 * * *", "duration": "6h"}
TOKEN = "ghp_" + "a1B2" * 10
CHAT = {"name": "ops", "slack": {"url": {"secret": "slack-url"}}}
MAIL = {
    "name": "ops",
    "email": {
        "host": "mail.example",
        "user": "x",
        "password": {"secret": "slack-url"},
        "sender": "a@b.example",
        "recipients": ["c@d.example"],
    },
}
BOTH_WAYS = {"WindowMoved", "VerificationLoosened", "DeliveryMoved", "ReceiverChanged"}
"""Said of other hours, signers, folders and receivers, whichever way."""
Edits = Sequence[Mapping[str, Any]]
NOTHING: Edits = ()


def _gates(*gates: Mapping[str, Any]) -> Edits:
    return [{"in": "thresholds/reader", "set": {GATES: list(gates)}}]


def _rollout(**fields: Any) -> Edits:
    return [{"in": "rollout/reader", "set": {f"spec/{name}": value for name, value in fields.items()}}]


def _dataset(source: Mapping[str, Any]) -> Edits:
    return [{"in": "dataset/tags", "set": {"spec/source": source}}]


def _repository(**spec: Any) -> Edits:
    return [{"file": "edgewright.yaml", "text": None}, {"add": {"kind": "Repository", **_meta("shop"), "spec": spec}}]


def _meta(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}}


def _fleet(count: int) -> Edits:
    rows = "".join(f"lane-{n},a,stable,camera\n" for n in range(2, count + 1))
    return [{"file": "fleets/stores.csv", "text": f"id,store,ring,class\nlane-1,a,canary,camera\n{rows}"}]


def found(base: Edits, head: Edits, signature: Signature | None = None) -> tuple[ReviewWarning, ...]:
    """Review a head against a base that is taken as applied."""
    files = _placed(edited(SHOP, base))
    before = snapshot_of(files, "base")
    after = snapshot_of(_placed(edited(files, head)), "head")
    return review(before, after, _plan(before, after), signature)


def _placed(files: dict[str, str]) -> dict[str, str]:
    """Put the Repository document where it belongs."""
    moved = files.pop("specs/repository-shop.yaml", None)
    return files if moved is None else {**files, "edgewright.yaml": moved}


def _plan(before: Snapshot, after: Snapshot) -> Any:
    return plan(after, assume_applied(before, Observed(), NOW), NOW)


def reasons(warnings: Sequence[ReviewWarning]) -> list[str]:
    return [warning.reason for warning in warnings if warning.severity == "warning"]


@pytest.mark.parametrize(
    ("base", "head", "expected", "words"),
    [
        pytest.param([], _gates({**OVERALL, "min": 0.9}, SLICES, CHAMPION, SIZE), "GateLoosened", "accuracy ≥ 0.9"),
        pytest.param([], _gates(OVERALL, SLICES, CHAMPION, {**SIZE, "max": "2MiB"}), "GateLoosened", "≤ 2 MiB"),
        pytest.param(
            [], _gates(OVERALL, SLICES, {**CHAMPION, "maxDegradation": 0.1}, SIZE), "GateLoosened", "0.1 below"
        ),
        pytest.param([], _gates(OVERALL, SLICES, CHAMPION), "GateRemoved", "sizeBytes ≤ 400 KiB"),
        pytest.param(
            [], _gates(OVERALL, {**SLICES, "slice": {"store": "a"}}, CHAMPION, SIZE), "GateNarrowed", "(store=a)"
        ),
        pytest.param([], [{"in": "model/reader", "unset": ["spec/thresholds"]}], "ThresholdsDetached", "reader"),
        pytest.param(
            [],
            [
                {"add": {"kind": "Thresholds", **_meta("easy"), "spec": {"gates": [{**OVERALL, "min": 0.5}]}}},
                {"in": "model/reader", "set": {"spec/thresholds": "easy"}},
            ],
            "GateLoosened",
            "would become accuracy ≥ 0.5",
        ),
        pytest.param([], _rollout(waves=[HALF, ALL], **FIRST), "CanaryRemoved", "1 to 3"),
        pytest.param(_rollout(waves=[HALF, ALL], **FIRST), _rollout(waves=[ALL]), "CanaryRemoved", "all devices"),
        pytest.param(
            _rollout(waves=[{"percent": 10}, ALL], **FIRST),
            _rollout(waves=[{"percent": 60}, ALL]),
            "FirstWaveLarger",
            "60 %",
        ),
        pytest.param([], _rollout(waves=[CANARY, {"percent": 50, "soak": "5m"}, ALL]), "SoakShortened", "30m → 5m"),
        pytest.param(
            _rollout(maxUnavailable={"count": 1}), _rollout(maxUnavailable={"count": 2}), "MaxUnavailableRaised", "1"
        ),
        pytest.param(
            _rollout(maxUnavailable={"count": 1}),
            [{"in": "rollout/reader", "unset": ["spec/maxUnavailable"]}],
            "MaxUnavailableRemoved",
            "1 device",
        ),
        pytest.param([], _rollout(success={"minRatio": 0.5}), "SuccessRatioLowered", "0.5"),
        pytest.param([], [{"in": "rollout/reader", "unset": ["spec/approval"]}], "ApprovalRemoved", "wave 3"),
        pytest.param(_rollout(approval={"beforeWave": 1}), _rollout(approval={"beforeWave": 2}), "ApprovalLater", "2"),
        pytest.param(
            _rollout(window=DAYS), [{"in": "rollout/reader", "unset": ["spec/window"]}], "WindowRemoved", "any time"
        ),
        pytest.param(_rollout(window=DAYS), _rollout(window={**DAYS, "duration": "9h"}), "WindowWidened", "9h"),
        pytest.param(_rollout(window=DAYS), _rollout(window={**DAYS, "cron": "0 8 * * *"}), "WindowMoved", "0 8"),
        pytest.param([], _rollout(onFailure="pause"), "RollbackOff", "pause"),
        pytest.param(
            [], [{"in": "model/reader", "set": {"spec/package/golden": {"samples": 4}}}], "GoldenFewer", "4 golden"
        ),
        pytest.param(
            [], [{"in": "model/reader", "set": {"spec/package/golden": {"atol": 0.5}}}], "GoldenLooser", "0.5"
        ),
        pytest.param(
            [], [{"in": "model/reader", "set": {"spec/package/quantization/parity": 0.9}}], "Int8Looser", "0.9"
        ),
        pytest.param(
            _repository(verification={"subject": "both", "ssh": {"allowedSigners": "keys"}}),
            _repository(),
            "VerificationRemoved",
            "whoever",
        ),
        pytest.param(
            _repository(verification={"subject": "both", "ssh": {"allowedSigners": "keys"}}),
            _repository(verification={"ssh": {"allowedSigners": "more"}}),
            "VerificationLoosened",
            "SSH signers would be those in more; it was keys",
        ),
        pytest.param(_repository(), _repository(delivery={"repository": "/srv/other"}), "DeliveryMoved", "/srv/other"),
        pytest.param(_repository(), _repository(reconciliation={"suspend": True}), "Suspended", "nothing"),
        pytest.param(_repository(), _repository(reconciliation={"selfHeal": False}), "SelfHealOff", "reported"),
        pytest.param(_repository(reconciliation={"prune": False}), _repository(), "PruneOn", "no longer declared"),
        pytest.param(_repository(notifications=[CHAT]), _repository(), "ReceiverRemoved", "ops would no longer"),
        pytest.param(_repository(), _repository(notifications=[MAIL]), "ReceiverAdded", "given secret slack-url"),
        pytest.param(
            _repository(notifications=[CHAT]),
            _repository(notifications=[MAIL]),
            "ReceiverChanged",
            "through mail.example:587 (starttls), which is given secret slack-url; it was the chat at secret slack-url",
        ),
        pytest.param(_dataset(OUTSIDE), _dataset({**OUTSIDE, "follow": True}), "SourceUnpinned", "followed"),
        pytest.param(_fleet(4), _fleet(9), "FleetGrows", "9 devices; it was 4"),
        pytest.param(
            [],
            [{"in": "model/reader", "set": {"spec/architecture/with/apiToken": TOKEN}}],
            "SecretInSpec",
            "spec.architecture.with.apiToken looks like a GitHub token",
        ),
    ],
)
def test_safety_taken_away_is_said(base: Edits, head: Edits, expected: str, words: str) -> None:
    (warning,) = [each for each in found(base, head) if each.reason == expected]
    assert words in warning.message
    assert warning.severity == "warning"
    assert warning.where
    # The same change the other way round takes nothing away.
    assert expected in BOTH_WAYS or expected not in reasons(found([*base, *head], _back(base)))


def _back(base: Edits) -> Edits:
    """Edit every file back to what the base has."""
    before = _placed(edited(SHOP, base))
    return [{"file": path, "text": text} for path, text in before.items()]


def test_another_name_hides_no_bolder_rollout() -> None:
    waves = {"waves": [ALL], "maxUnavailable": {"count": 100}}
    spec = {"model": "reader", "fleet": "stores", **waves}
    warnings = found([], [{"delete": "rollout/reader"}, {"add": {"kind": "Rollout", **_meta("fast"), "spec": spec}}])
    (canary,) = [each for each in warnings if each.reason == "CanaryRemoved"]
    assert str(canary.address) == "rollout/fast"
    assert "ApprovalRemoved" in reasons(warnings)


def test_a_model_that_takes_the_place_of_another_is_held_to_its_gates() -> None:
    spec = {"task": "tabular-classification", "dataset": "tags", "architecture": {"use": "mlp"}}
    easy = {"add": {"kind": "Thresholds", **_meta("easy"), "spec": {"gates": [{**OVERALL, "min": 0.5}]}}}
    other: dict[str, Any] = {"kind": "Model", **_meta("other"), "spec": {**spec, "training": {"epochs": 1}}}
    (detached,) = [
        each for each in found([], [*_rollout(model="other"), {"add": other}]) if each.reason == "ThresholdsDetached"
    ]
    assert str(detached.address) == "model/other"
    assert "takes the place of model/reader, and does not name its thresholds/reader" in detached.message
    other = {**other, "spec": {**other["spec"], "thresholds": "easy"}}
    assert "GateLoosened" in reasons(found([], [*_rollout(model="other"), easy, {"add": other}]))


@pytest.mark.parametrize(
    ("base", "head"),
    [
        (NOTHING, NOTHING),
        (NOTHING, [{"in": "model/reader", "set": {"spec/training/epochs": 20}}]),
        # A gate on every slice covers one on a single slice.
        (_gates(OVERALL, {**SLICES, "slice": {"store": "a"}}), _gates(OVERALL, SLICES)),
        # One limit on two gates, or on one, is the same limit.
        (_gates({"metric": "accuracy", "min": 0.9, "max": 1}), _gates({"metric": "accuracy", "max": 1}, OVERALL)),
        (_rollout(waves=[{"percent": 50}, ALL], **FIRST), _rollout(waves=[{"percent": 10}, {"percent": 50}, ALL])),
        (_rollout(maxUnavailable={"count": 1, "per": "store"}), _rollout(maxUnavailable={"count": 1})),
        (_rollout(window={**DAYS, "duration": "9h"}), _rollout(window=DAYS)),
        (_dataset({**OUTSIDE, "follow": True}), _dataset({**OUTSIDE, "follow": True})),
        (_fleet(4), _fleet(6)),
    ],
)
def test_what_takes_nothing_away_is_not_a_warning(base: Edits, head: Edits) -> None:
    assert reasons(found(base, head)) == []


def test_pruning_names_the_devices_it_leaves() -> None:
    warnings = found([], [{"delete": "rollout/reader"}, {"delete": "fleet/stores"}])
    assert reasons(warnings) == ["Prune", "Prune", "DevicesUnmanaged"]
    assert "6 devices are left unmanaged for model/reader" in warnings[2].message
    assert "lane-1, lane-2" in warnings[2].message
    assert "specs/rollout.yaml" in warnings[1].message


def test_devices_that_another_rollout_takes_over_are_not_left() -> None:
    moved: Edits = [
        {"delete": "rollout/reader"},
        {"add": {"kind": "Rollout", **_meta("next"), "spec": {"model": "reader", "fleet": "stores"}}},
    ]
    assert "DevicesUnmanaged" not in reasons(found([], moved))


def test_the_repositorys_own_code_is_named_with_what_it_imports_and_not_run() -> None:
    head: Edits = [
        {"file": "code/net.py", "text": "from code.layers import block\nclass Net:\n    pass\n"},
        {"file": "code/layers.py", "text": "def block():\n    pass\n"},
        {"in": "dataset/tags", "set": {"spec/steps": [{"use": "code/steps.py:scale", "with": {"factor": 3}}]}},
    ]
    facts = [warning for warning in found([], head) if warning.reason == "RunsCode"]
    assert {str(fact.address) for fact in facts} == {"dataset/tags", "model/reader"}
    assert all(fact.severity == "info" and "did not run it" in fact.message for fact in facts)
    assert "code/net.py, code/layers.py" in next(f.message for f in facts if f.address.kind == "model")


def test_commands_are_shown_as_they_will_be_run() -> None:
    made = {"task": "tabular-classification", "dataset": "tags", "command": ["make", "the model"], "inputs": ["code"]}
    facts = found([], [{"in": "model/reader", "set": {"spec": made}}])
    (command,) = [fact for fact in facts if fact.reason == "RunsCommand"]
    assert "make 'the model', with code" in command.message


@pytest.mark.parametrize(("state", "warned"), [(s, s not in {"good", "not-required"}) for s in SignatureState])
def test_a_signer_who_is_not_trusted_is_the_first_thing_said(state: SignatureState, warned: bool) -> None:
    warnings = found([], _rollout(onFailure="pause"), Signature(state, "commit 1a2b", "someone"))
    assert (warnings[0].reason == "UnverifiedSigner") == warned


def test_with_nothing_in_force_there_is_nothing_to_compare() -> None:
    head = snapshot_of(SHOP, "head")
    assert {w.severity for w in review(None, head, plan(head, Observed(), NOW))} == {"info"}


@pytest.mark.parametrize(
    "value",
    [
        "AKIA" + "Q7" * 8,
        "https://me:hunter22@data.example/x",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nabc",
        TOKEN,
        "a.b-eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.c2lnbmVk",
    ],
)
def test_secrets_are_found_by_their_form_and_never_shown(value: str) -> None:
    base = snapshot_of(SHOP, "base")
    files = edited(SHOP, [{"in": "model/reader", "set": {"spec/architecture/with/note": f"{value}"}}])
    head = snapshot_of(files, "head")
    found_plan = _plan(base, head)
    warnings = review(base, head, found_plan)
    assert "SecretInSpec" in reasons(warnings)
    hidden = secret_values(base, head)
    assert hidden
    said = [warning.message for warning in warnings]
    said += [str(reason.new) for step in plan_without(found_plan, hidden).steps for reason in step.reasons]
    assert not any(secret in text for text in said for secret in hidden)
    assert any(HIDDEN in text for text in said)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("password", "${password}"),
        ("token", "<your token>"),
        ("secret", " xxxxx\n"),
        ("note", "5://me:you@"),
        ("column", "token"),
        ("uri", "https://data.example/a@b"),
    ],
)
def test_what_only_mentions_secrets_is_left_alone(name: str, value: str) -> None:
    head: Edits = [{"in": "model/reader", "set": {f"spec/architecture/with/{name}": value.replace("${", "$${")}}]
    assert "SecretInSpec" not in reasons(found([], head))
