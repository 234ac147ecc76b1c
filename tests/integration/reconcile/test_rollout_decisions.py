"""Whatever people ask, inventories say, devices enroll with and clocks show: no release goes where it must not go.

A release that is paused, aborted or rejected is assigned to nobody, and no device keeps another one from what it is
given: in the end every device that takes part runs the newest release, whatever is wrong with others.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.core.address import Address
from edgewright.core.fleet.membership import members
from edgewright.core.rollout.controls import request
from edgewright.core.rollout.state import ENDED, ControlAction, RolloutState
from edgewright.errors import EdgewrightError
from edgewright.reconcile import reconciler as reconciling
from edgewright_wire.messages import Assignment, Report
from harness.memory_run import FILES, HEAD, Devices, World, model
from harness.profiles import examples

READER = Address("rollout", "reader")
NAMES = ("lane-1", "lane-2", "lane-3", "lane-4", "lane-5")
LABELS: Sequence[dict[str, str]] = (
    {"site": "north", "store": "a"},
    {"site": "north", "store": "b"},
    {"site": "north"},  # its configuration needs a store
    {"cold": "yes", "store": "a"},
    {"site": "north", "cold": "yes", "store": "c"},  # two fleets claim it
    {},
)
HOURS = (0, -2, 24, -24 * 20_000, 24 * 27_000)


def fleet(name: str, spec: str) -> dict[str, str]:
    text = f"{HEAD}kind: Fleet\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
    rollout = "reader" if name == "lanes" else f"reader-{name}"
    waves = "waves: [{percent: 30}, {percent: 100}], approval: {beforeWave: 2}"
    return {
        f"specs/fleet-{name}.yaml": text,
        f"specs/rollout-{rollout}.yaml": f"{HEAD}kind: Rollout\nmetadata: {{name: {rollout}}}\nspec: {{model: reader, "
        f"fleet: {name}, {waves}}}\n",
    }


def rows(chosen: Mapping[str, int]) -> dict[str, str]:
    """An inventory in which the devices have labels; those that are not listed may still enroll."""
    listed = [f"{name},north,{'abc'[store]}\n" for name, store in sorted(chosen.items())]
    return {"fleets/lanes.csv": "".join(["id,site,store\n", *listed])}


BASE: dict[str, str] = {
    **FILES,
    "templates/lane.toml.j2": "store = '{{ device.labels.store }}'\n",
    **fleet(
        "lanes",
        "selector: {matchLabels: {site: north}}, inventory: fleets/lanes.csv, "
        "config: {template: templates/lane.toml.j2, path: lane.toml}",
    ),
    **fleet("cold", "selector: {matchLabels: {cold: 'yes'}}"),
    **rows({"lane-1": 0, "lane-2": 1}),
}
del BASE["specs/fleet.yaml"]


@dataclass
class Clock:
    """Time that passes by being asked for."""

    now: datetime = field(default_factory=lambda: datetime.fromisoformat("2026-03-02T09:00:00+00:00"))

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=500)
        return self.now


class Skewed(Devices):
    """Devices whose clocks are off, and that write down what they are assigned."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.off: dict[str, float] = {}
        self.log: list[tuple[str, str]] = []

    def observe(self, known: Mapping[str, int]) -> Sequence[Report]:
        return [
            report.model_copy(update={"sent_at": report.sent_at + timedelta(hours=self.off.get(report.device, 0))})
            for report in super().observe(known)
        ]

    def assign(self, assignments: Sequence[Assignment], configs: Mapping[str, bytes]) -> None:
        self.log += [(a.device, slot.release) for a in assignments for slot in a.models]
        super().assign(assignments, configs)


@dataclass
class Story:
    """A world, and what people decided in it."""

    folder: Path
    clock: Clock = field(default_factory=Clock)
    epochs: int = 3
    paused: str | None = None
    """The release that a person paused."""
    aborted: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.world = World(self.folder, BASE, self.clock)
        self.world.devices = self.devices = Skewed(self.clock)

    def state(self) -> RolloutState:
        return self.world.state.rollout(READER) or RolloutState()

    def act(self, what: str, value: object, name: str) -> None:
        match what:
            case "rows":
                assert isinstance(value, dict)
                self.world.source.commit(rows(value))
            case "enroll":
                self.world.state.enroll({name: LABELS[int(str(value))]})
            case "clock":
                self.devices.off[name] = HOURS[int(str(value)) % len(HOURS)]
            case "release":
                self.epochs += 1
                self.world.source.commit(model("reader", epochs=self.epochs))
            case "refuse":
                self.devices.refused ^= {name}
            case "online":
                self.devices.online ^= {name}
            case "ask":
                self.ask(ControlAction(str(value)))

    def ask(self, action: ControlAction) -> None:
        state = self.state()
        try:
            asked = request(state, self.world.state.requested_controls().get(READER), action, state.wave + 1)
        except EdgewrightError:
            return
        self.world.state.request_controls(READER, asked)
        current = state.release.fingerprint if state.release else ""
        if state.phase in ENDED or not current:
            return
        if action is ControlAction.PAUSE:
            self.paused = current
        elif action is ControlAction.RESUME:
            self.paused = None
        elif action is ControlAction.ABORT:
            self.aborted.add(current)

    def go_on(self) -> None:
        """Run once, and look at what was assigned."""
        before, self.devices.log = self.state(), []
        self.world.run(until=self.clock.now + timedelta(seconds=40))
        after = self.state()
        kept = {release.fingerprint for release in (before.proven, after.proven) if release is not None}
        rejected = {each.release for each in before.rejected}
        for device, release in self.devices.log:
            progress = after.devices.get(device)
            back = progress is not None and progress.verified is not None and progress.verified.fingerprint == release
            if release in kept or back:
                continue  # it runs that already, or returns to it
            assert release not in rejected, f"{device} was assigned {release}, which had been rejected"
            assert release not in self.aborted, f"{device} was assigned {release}, which a person aborted"
            assert release != self.paused, f"{device} was assigned {release}, which a person paused"

    def end(self) -> None:
        """Publish one more release: whoever takes part must run it, with whatever clocks and conflicts others have."""
        self.devices.online, self.devices.refused = set(NAMES), set()
        self.act("release", None, "")
        for _ in range(3):
            self.devices._said.clear()
            self.go_on()
            self.ask(ControlAction.APPROVE)
            self.clock.now += timedelta(minutes=20)
        state, desired = self.state(), self.world.source.snapshot()
        lanes = desired.fleet("lanes")
        assert lanes is not None
        enrolled = self.world.state.enrolled()
        wanted = {
            device
            for device, labels in members(desired, lanes, enrolled).items()
            if "store" in labels and "cold" not in enrolled.get(device, {})
        }
        running = {device for device, progress in state.devices.items() if progress.state == "verified"}
        held = {device: hold.reason for device, hold in state.held.items()}
        assert wanted <= running, (wanted - running, held, state.phase, state.reason, state.message)
        assert set(held) == state.devices.keys() - wanted


HAPPENINGS = st.one_of(
    st.tuples(st.just("rows"), st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2), min_size=1)),
    st.tuples(st.just("enroll"), st.integers(0, len(LABELS) - 1)),
    st.tuples(st.just("enroll"), st.integers(0, len(LABELS) - 1)),
    st.tuples(st.just("clock"), st.integers(0, len(HOURS) - 1)),
    st.tuples(st.just("ask"), st.sampled_from([action.value for action in ControlAction])),
    st.tuples(st.just("ask"), st.sampled_from([action.value for action in ControlAction])),
    st.tuples(st.sampled_from(["release", "refuse", "online"]), st.none()),
)
STORIES = st.lists(st.tuples(HAPPENINGS, st.sampled_from(NAMES), st.booleans()), max_size=10)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciling, "_TICK_SECONDS", 0.0)


@settings(max_examples=examples(12), deadline=None, suppress_health_check=list(HealthCheck))
@given(script=STORIES)
def test_no_mix_of_events_assigns_what_was_stopped_or_lets_one_device_stop_another(
    script: list[tuple[tuple[str, object], str, bool]],
) -> None:
    with TemporaryDirectory() as folder:
        story = Story(Path(folder))
        story.go_on()
        for (what, value), name, runs in script:
            story.act(what, value, name)
            if runs:
                story.go_on()
        story.end()
