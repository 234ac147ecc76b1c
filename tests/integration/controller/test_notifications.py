"""Telling receivers what happened: by the dispatcher, from the store to real receivers, and by the command line."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgewright.core.address import Address
from edgewright.core.planning.plan import Note, Plan
from edgewright.core.status.conditions import conditions_of_all
from edgewright.core.status.events import Event
from edgewright.core.status.source import SourceStatus, repository_address, repository_conditions, transitions
from edgewright.errors import NotificationError, NotificationUnavailable
from edgewright.notifications.notifiers import open_notifiers
from edgewright.reconcile.backoff import Backoff
from edgewright.reconcile.notifications import Dispatcher
from edgewright.wiring.workspace import Workspace
from edgewright_schemas.notifications import NotificationReceiver
from fakes.state import InMemoryState
from fakes.state_tables import Memory
from harness.command_line import DATA_ONLY, HEAD, edgewright, edgewright_as, repository
from samples.repositories import make_repository
from servers.notification_receivers import InMemoryNotifier, http_receiver

NOW = datetime(2026, 3, 2, tzinfo=UTC)
MODEL = Address("model", "reader")


def receiver(name: str, **fields: object) -> NotificationReceiver:
    return NotificationReceiver.model_validate({"name": name, "slack": {"url": {"secret": f"{name}-url"}}, **fields})


@dataclass
class Scene:
    """A store, receivers in memory, a clock; each ``dispatcher`` is a process of its own."""

    specs: list[NotificationReceiver]
    memory: Memory = field(default_factory=Memory)
    now: datetime = NOW
    notifiers: dict[str, InMemoryNotifier] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = InMemoryState(self.memory)
        self.notifiers = {spec.name: InMemoryNotifier() for spec in self.specs}

    def dispatcher(self) -> Dispatcher:
        backoff = Backoff(self.clock, lambda: 0.0, timedelta(seconds=5), timedelta(minutes=15))
        return Dispatcher(
            self.state, self.state, self.notifiers, self.specs, self.clock, environment="shop", backoff=backoff
        )

    def clock(self) -> datetime:
        return self.now

    def wait(self, **time: float) -> None:
        self.now += timedelta(**time)

    def happen(self, *messages: str, reason: str = "StepFailed") -> None:
        self.state.add_events([Event(self.now, reason, str(MODEL), message, {}, "abc") for message in messages])

    def told(self, name: str) -> list[str]:
        return [notification.message for notification in self.notifiers[name].notifications]


def test_a_new_receiver_is_not_flooded_with_history() -> None:
    scene = Scene([receiver("ops")])
    scene.happen("long ago", "yesterday")
    dispatcher = scene.dispatcher()
    assert dispatcher.dispatch() is None
    assert scene.told("ops") == []
    scene.happen("now")
    dispatcher.dispatch()
    assert scene.told("ops") == ["now"]
    assert scene.notifiers["ops"].notifications[0].environment == "shop"


def test_everybody_hears_everything_once_also_after_a_restart() -> None:
    scene = Scene([receiver("ops"), receiver("dev", severity="info")])
    scene.dispatcher().dispatch()
    scene.happen("one")
    scene.happen("done", reason="StepDone")
    scene.dispatcher().dispatch()
    scene.happen("two")
    scene.dispatcher().dispatch()
    scene.dispatcher().dispatch()
    assert scene.told("ops") == ["one", "two"]
    assert scene.told("dev") == ["one", "done", "two"]
    assert set(scene.state.notified().values()) == {scene.state.last_event()}


def test_one_that_is_away_stands_in_nobodys_way_and_misses_nothing() -> None:
    scene = Scene([receiver("away"), receiver("ops")])
    dispatcher = scene.dispatcher()
    dispatcher.dispatch()
    scene.notifiers["away"].trouble = NotificationUnavailable("it did not answer")
    scene.happen("one", "two")
    due = dispatcher.dispatch()
    assert due == scene.now + timedelta(seconds=5)
    assert scene.told("ops")[:2] == ["one", "two"]
    assert dispatcher.problems == {"away": "it did not answer"}
    dispatcher.dispatch()
    assert scene.told("ops") == ["one", "two", "receiver away cannot be told: it did not answer"]
    scene.wait(seconds=5)
    assert dispatcher.dispatch() == scene.now + timedelta(seconds=10)
    scene.notifiers["away"].trouble = None
    assert dispatcher.dispatch() == scene.now + timedelta(seconds=10), "it is left alone until then"
    scene.wait(seconds=10)
    assert dispatcher.dispatch() is None
    assert scene.told("away")[:2] == ["one", "two"]
    assert dispatcher.problems == {}


def test_one_that_asks_to_be_left_alone_is() -> None:
    scene = Scene([receiver("ops")])
    dispatcher = scene.dispatcher()
    dispatcher.dispatch()
    scene.notifiers["ops"].trouble = NotificationUnavailable("too many", retry_after=3600)
    scene.happen("one")
    assert dispatcher.dispatch() == scene.now + timedelta(hours=1)


def test_a_crash_after_sending_repeats_one_notice_with_its_id(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene([receiver("ops")])
    scene.dispatcher().dispatch()
    scene.happen("one", "two")

    class Crash(BaseException):
        pass

    def crash(name: str, cursor: int) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(scene.state, "set_notified", crash)
        with pytest.raises(Crash):
            scene.dispatcher().dispatch()
    scene.dispatcher().dispatch()
    assert scene.told("ops") == ["one", "one", "two"]
    first, again, other = scene.notifiers["ops"].notifications
    assert first.id == again.id != other.id


def test_what_the_limit_leaves_out_is_counted_and_survives_a_restart() -> None:
    scene = Scene([receiver("ops", limit={"count": 2, "per": "10m"})])
    dispatcher = scene.dispatcher()
    dispatcher.dispatch()
    scene.happen("1", "2", "3", "4", "5")
    due = dispatcher.dispatch()
    assert scene.told("ops") == ["1", "2"]
    assert due == scene.now + timedelta(minutes=10)
    kept = scene.state.notified()["ops"]
    assert [event.message for _, event in scene.state.events_after(kept)] == ["3", "4", "5"]
    scene.wait(minutes=10)
    assert dispatcher.dispatch() is None
    assert scene.told("ops")[2:] == [
        "3 notices were left out because of this receiver's limit; `edgewright history` shows everything"
    ]
    assert scene.state.notified()["ops"] == scene.state.last_event()


def test_a_notice_that_is_never_taken_is_left_out_and_counted() -> None:
    scene = Scene([receiver("ops")])
    dispatcher = scene.dispatcher()
    dispatcher.dispatch()
    scene.notifiers["ops"].refuses = {"poison"}
    scene.happen("poison", "fine")
    for _ in range(20):
        due = dispatcher.dispatch()
        if due is None:
            break
        scene.now = due
    assert scene.told("ops")[0] == "fine"
    assert scene.notifiers["ops"].notifications[0].suppressed == 1


def test_history_is_not_kept_for_a_receiver_that_is_gone() -> None:
    scene = Scene([receiver("ops"), receiver("old")])
    scene.dispatcher().dispatch()
    scene.specs = [scene.specs[0]]
    scene.happen("one")
    scene.dispatcher().dispatch()
    assert scene.state.notified()["old"] == scene.state.last_event()


def test_a_resource_that_stalls_is_told_through_a_real_receiver(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = Scene([receiver("ops")])
    blocked = Plan("c", "o", "i", (), (Note(MODEL, "blocked", "GateFailed", "accuracy 0.5 < 0.9"),))
    fine = conditions_of_all([MODEL], Plan("c", "o", "i", ()), {}, revision="abc", now=NOW)
    with http_receiver() as chat:
        monkeypatch.setenv("EDGEWRIGHT_SECRET_OPS_URL", chat.url)
        dispatcher = Dispatcher(scene.state, scene.state, open_notifiers(scene.specs), scene.specs, scene.clock)
        dispatcher.dispatch()
        after = conditions_of_all([MODEL], blocked, {}, revision="def", now=NOW, before=fine)
        scene.state.add_events(transitions(fine, after, NOW, "def"))
        dispatcher.dispatch()
        (request,) = chat.requests
    assert "error: model/reader GateFailed" in request.json["text"]
    assert "Ready → Stalled" in request.json["text"]


def test_all_missing_secrets_are_named_at_once() -> None:
    specs = [
        receiver("ops"),
        NotificationReceiver.model_validate(
            {"name": "hook", "webhook": {"url": {"secret": "u"}, "key": {"secret": "k"}}}
        ),
        NotificationReceiver.model_validate(
            {"name": "mail", "email": {"host": "mail.example.com", "sender": "ä@b", "recipients": ["a@example.com"]}}
        ),
    ]
    with pytest.raises(NotificationError) as refused:
        open_notifiers(specs, {})
    for part in ("ops-url", "'u'", "'k'", "'ä@b' is no mail address", "EDGEWRIGHT_SECRET_OPS_URL"):
        assert part in str(refused.value)
    assert sorted(
        open_notifiers(specs[:2], {f"EDGEWRIGHT_SECRET_{n}": "https://a.example/" for n in ("OPS_URL", "U", "K")})
    ) == [
        "hook",
        "ops",
    ]


NOTIFIED = HEAD + (
    "kind: Repository\nmetadata: {name: shop}\nspec:\n  notifications:\n"
    "    - {name: ops, slack: {url: {secret: ops-url}}}\n"
    "    - {name: hook, webhook: {url: {secret: hook-url}, key: {secret: hook-key}}}\n"
)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return repository(tmp_path / "shop", {**DATA_ONLY, "edgewright.yaml": NOTIFIED})


def test_receivers_can_be_tried(shop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with http_receiver() as chat, http_receiver() as hook:
        monkeypatch.setenv("EDGEWRIGHT_SECRET_OPS_URL", chat.url)
        edgewright(shop, "notify", "test", "ops").expect(0, "ops: sent")
        edgewright(shop, "notify", "test").expect(1, "ops: sent", "hook: not sent", "EDGEWRIGHT_SECRET_HOOK_KEY")
        monkeypatch.setenv("EDGEWRIGHT_SECRET_HOOK_URL", hook.url)
        monkeypatch.setenv("EDGEWRIGHT_SECRET_HOOK_KEY", "key")
        hook.always(401, f"who are you? {hook.url}")
        tried = edgewright(shop, "notify", "test", "-o", "json").expect(1)
        assert [(one["receiver"], one["sent"]) for one in tried.json()] == [("ops", True), ("hook", False)]
        assert "401" in tried.said
        assert "secret-path" not in tried.said
        assert hook.requests[0].json["reason"] == "Test"
    edgewright(shop, "notify", "test", "osp").expect(1, "there is no receiver 'osp'", "ops")


def test_receivers_can_be_tried_whatever_the_other_specs_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    environments = "  environments:\n    - {name: lab, follow: {branch: main}, values: {rows: data/tags.csv}}\n"
    files = {
        "edgewright.yaml": NOTIFIED + environments,
        "specs/dataset.yaml": DATA_ONLY["specs/dataset.yaml"].replace("data/tags.csv", '"${rows}"'),
        "data/tags.csv": DATA_ONLY["data/tags.csv"],
    }
    shop = make_repository(tmp_path / "shop", files)
    with http_receiver() as chat:
        monkeypatch.setenv("EDGEWRIGHT_SECRET_OPS_URL", chat.url)
        edgewright(shop, "notify", "test", "ops").expect(0, "ops: sent")
        edgewright(shop, "notify", "test", "ops", "--env", "lab").expect(0, "ops: sent")
        edgewright(shop, "notify", "test", "ops", "--ref", "HEAD", "--env", "lob").expect(1, "did you mean lab?")
        from_afar = ["edgewright", "notify", "test", "ops", "--repo", shop.as_uri(), "--state", str(tmp_path / "s")]
        edgewright_as(from_afar).expect(0, "ops: sent")
        assert len(chat.requests) == 3


def test_without_receivers_there_is_nothing_to_try(tmp_path: Path) -> None:
    shop = repository(tmp_path / "shop", DATA_ONLY)
    edgewright(shop, "notify", "test").expect(1, "no receivers of notifications are declared")


def store(shop: Path, write: Callable[[Workspace], None]) -> None:
    workspace = Workspace(shop)
    with workspace.lease("a test"):
        write(workspace)


def test_status_shows_the_repository_first_and_how_long_things_stand(shop: Path) -> None:
    dataset = Address("dataset", "tags")
    since = datetime.now(UTC) - timedelta(hours=3)

    def judge(workspace: Workspace) -> None:
        refused = SourceStatus("a" * 40, "b" * 40, "SignatureMissing", "sign it", since)
        before = json.loads(edgewright(shop, "status", "-o", "json").stdout)["resources"][-1]["conditions"]
        assert {condition["lastTransition"] for condition in before} == {None}
        plan = Plan("c", "o", "i", (), (Note(dataset, "waiting", "Later", "…"),))
        workspace.state.set_conditions(
            {
                repository_address("shop"): repository_conditions(refused, now=since),
                **conditions_of_all([dataset], plan, {}, revision="", now=since),
            }
        )

    store(shop, judge)
    ran = edgewright(shop, "status").expect(0, "FOR", "3h", "SignatureMissing", "bbbbbbbbbbbb is refused: sign it")
    lines = ran.stdout.splitlines()
    assert lines[2].split()[:4] == ["repository/shop", "Stalled", "3h", "SignatureMissing"]
    assert lines[3].split()[:4] == ["dataset/tags", "Reconciling", "3h", "Planned"]
    found = edgewright(shop, "status", "-o", "json").expect(0).json()
    assert found["environment"] is None
    shown = {one["address"]: one["conditions"] for one in found["resources"]}
    assert next(iter(shown)) == "repository/shop"
    assert {c["lastTransition"] for c in shown["dataset/tags"]} == {since.isoformat()}


def test_history_can_be_narrowed(shop: Path) -> None:
    now = datetime.now(UTC)

    def happen(workspace: Workspace) -> None:
        old = [Event(now - timedelta(days=2), "StepDone", "model/old", f"{n}", {}) for n in range(300)]
        new = [Event(now, "StepFailed", "model/new", "bad", {}), Event(now, "WavePassed", "rollout/new", "good", {})]
        workspace.state.add_events([Event(now - timedelta(days=9), "Pruned", "fleet/f", "gone", {}), *old, *new])

    store(shop, happen)

    def found(*arguments: str) -> list[Mapping[str, str]]:
        events: list[Mapping[str, str]] = edgewright(shop, "history", "-o", "json", *arguments).expect(0).json()
        return events

    assert [one["severity"] for one in found("--since", "1h")] == ["info", "error"]
    assert [one["address"] for one in found("--kind", "Fleet")] == ["fleet/f"], "far back, behind many others"
    assert [one["address"] for one in found("--reason", "Pruned", "--reason", "StepFailed")] == ["model/new", "fleet/f"]
    assert len(found("--kind", "model", "-n", "60")) == 60
    day = f"{now - timedelta(days=3):%Y-%m-%d}"
    assert len(found("--since", day, "-n", "1000")) == 302
    edgewright(shop, "history", "--kind", "dataset").expect(0, "nothing like that has happened")
    edgewright(shop, "history", "--since", "soon").expect(1, "--since 'soon' is neither a duration nor a date")
    edgewright(shop, "history", "--reason", "StepFaild").expect(1, "there is no reason 'StepFaild'", "StepFailed")
