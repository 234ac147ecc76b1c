"""Rollouts under chaos: whatever devices, people and specs do, in any order, the rules hold at every pass."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from edgewright.core.rollout.machine import Advance, DeviceView, Goal, abort, advance, approve, pause, resume
from edgewright.core.rollout.state import ENDED, DeviceProgress, Hold, Phase, Release, RolloutState
from edgewright.errors import EdgewrightError
from edgewright_schemas.rollout import RolloutSpec
from edgewright_wire.messages import Phase as DevicePhase
from harness.profiles import examples
from harness.rollout_fleet import STATE, FakeDevice, FakeFleet, goal, release, rollout_spec

IN_FLIGHT = {"offered", "fetching", "staged", "probing", "returning"}
CANARY = {"select": {"matchLabels": {"ring": "canary"}}}
STOPPED = {Phase.SUCCEEDED, Phase.FAILED, Phase.ABORTED, Phase.PAUSED, Phase.AWAITING_APPROVAL}
WAITS_FOR_PEOPLE = {"NoDevices", "GateInconclusive"}
FEW = st.sets(st.sampled_from(["d0", "d0", "d1", "d2", "d5"]), max_size=2)
NAMES = st.sampled_from([f"d{number}" for number in range(8)])
SPECS: list[dict[str, Any]] = [
    {"waves": [{"percent": 100}]},
    {
        "waves": [CANARY, {"percent": 50, "soak": "5m"}, {"percent": 100}],
        "maxUnavailable": {"count": 1, "per": "store"},
    },
    {"waves": [CANARY, {"percent": 100}], "maxUnavailable": {"count": 2}, "success": {"minRatio": 0.6}},
    {"waves": [{"percent": 30}, {"percent": 100, "soak": "3m"}], "onFailure": "pause", "maxUnavailable": {"count": 1}},
    {"waves": [{"percent": 50}, {"percent": 100}], "approval": {"beforeWave": 2}, "success": {"minRatio": 0.5}},
    {"waves": [CANARY], "maxUnavailable": {"count": 1}},
    {"waves": [{"percent": 50}, CANARY], "window": {"cron": "0 * * * *", "duration": "20m"}},
]


def spec(number: int, **fields: Any) -> RolloutSpec:
    chosen = dict(SPECS[number])
    success = {"deadline": "30m", **chosen.pop("success", {})}
    return rollout_spec(offlineAfter="10m", success=success, **chosen, **fields)


class RolloutMachine(RuleBasedStateMachine):
    """A fleet of up to eight devices, one rollout, and everything that can happen to them."""

    @initialize(number=st.integers(0, len(SPECS) - 1), offline=FEW, refusing=FEW)
    def begin(self, number: int, offline: set[str], refusing: set[str]) -> None:
        self.fleet = FakeFleet({})
        self.gone: dict[str, FakeDevice] = {}
        for index in range(5):
            self._add(f"d{index}")
        self.number, self.releases, self.keys, self.membership = number, 1, 1, 1
        self.wanted = self._goal(release("r1", config="c"))
        self.past = [self.wanted]
        self.fleet.report()
        self._trouble(offline, refusing)
        self._pass()

    def _trouble(self, offline: set[str], refusing: set[str]) -> None:
        for name, device in self.fleet.devices.items():
            device.online = name not in offline
            if name in refusing:
                device.refuses[self.wanted.release.fingerprint] = "ProbeMismatch"

    def _add(self, name: str) -> None:
        index = int(name[1:])
        labels = {"store": str(index % 3), "ring": "canary" if index in {0, 5} else "wide"}
        self.fleet.devices[name] = FakeDevice(labels=labels)

    def _goal(self, wanted: Release, **fields: Any) -> Goal:
        return goal(spec(self.number, **fields), wanted, key=f"key-{self.keys}", fleet=f"fleet-{self.membership}")

    def _regoal(self) -> None:
        old = self.wanted
        self.wanted = Goal(old.name, old.spec, old.release, old.key, f"fleet-{self.membership}", old.device_gates)

    # ── what can happen ───────────────────────────────────────────────────────────────────────────────────────

    @rule(minutes=st.sampled_from([0.5, 1, 2, 4, 11, 31]), times=st.integers(1, 6))
    def time_passes(self, minutes: float, times: int) -> None:
        for _ in range(times):
            self.fleet.now += timedelta(minutes=minutes)
            self.fleet.work()
            self._pass()

    @rule()
    def engine_runs_again(self) -> None:
        self._pass()

    @rule(name=NAMES, online=st.booleans())
    def connection_changes(self, name: str, online: bool) -> None:
        if name in self.fleet.devices:
            self.fleet.devices[name].online = online

    @rule(name=NAMES, reason=st.sampled_from(["ProbeMismatch", "Incompatible", "FetchFailed"]))
    def device_will_refuse(self, name: str, reason: str) -> None:
        if name in self.fleet.devices:
            self.fleet.devices[name].refuses[self.wanted.release.fingerprint] = reason

    @rule(name=NAMES)
    def device_will_hang(self, name: str) -> None:
        if name in self.fleet.devices:
            self.fleet.devices[name].hangs.add(self.wanted.release.fingerprint)

    @rule(name=NAMES)
    def device_is_repaired(self, name: str) -> None:
        if name in self.fleet.devices:
            self.fleet.devices[name].refuses.clear()
            self.fleet.devices[name].hangs.clear()

    @rule(name=NAMES, age=st.integers(0, 9))
    def device_repeats_an_old_report(self, name: str, age: int) -> None:
        device = self.fleet.devices.get(name)
        if device and device.history:
            old = device.history[-1 - min(age, len(device.history) - 1)]
            device.view = _with(old, last_seen=self.fleet.now)
            self._pass()

    @rule(name=NAMES)
    def device_claims_what_it_has_not_taken_up(self, name: str) -> None:
        device = self.fleet.devices.get(name)
        if device is not None and device.taken < device.version:
            claim = self.wanted.release.fingerprint
            lie = {"phase": DevicePhase.VERIFIED, "release": claim, "active_release": claim, "verified": True}
            device.view = _with(device.seen(), last_seen=self.fleet.now, taken=device.taken, **lie)
            self._pass()

    @rule(name=NAMES)
    def device_claims_without_proof(self, name: str) -> None:
        device = self.fleet.devices.get(name)
        if device is not None:
            lie = {"phase": DevicePhase.VERIFIED, "release": device.target, "verified": False}
            device.view = _with(device.seen(), last_seen=self.fleet.now, taken=device.taken, **lie)
            self._pass()

    @rule(config=st.booleans(), number=st.integers(0, len(SPECS) - 1), offline=FEW, refusing=FEW)
    def new_release(self, config: bool, number: int, offline: set[str], refusing: set[str]) -> None:
        self.releases, self.keys, self.number = self.releases + 1, self.keys + 1, number
        self.wanted = self._goal(release(f"r{self.releases}", config="c" if config else None))
        self.past.append(self.wanted)
        self._trouble(offline, refusing)
        self._pass()

    @rule(number=st.integers(0, len(SPECS) - 1))
    def same_release_under_a_new_spec(self, number: int) -> None:
        self.keys, self.number = self.keys + 1, number
        self.wanted = self._goal(self.wanted.release)
        self.past.append(self.wanted)
        self._pass()

    @rule(which=st.integers(0, 9))
    def an_older_goal_comes_back(self, which: int) -> None:
        self.wanted = self.past[which % len(self.past)]
        self._regoal()
        self._pass()

    @rule(between=st.booleans())
    @precondition(lambda self: self.fleet.state.rejected)
    def a_rejected_goal_comes_back(self, between: bool) -> None:
        if between:
            self.new_release(config=False, number=self.number, offline=set(), refusing=set())
        key = self.fleet.state.rejected[-1].key
        self.wanted = next(goal for goal in self.past if goal.key == key)
        self._regoal()
        self._pass()

    @rule(suspend=st.booleans())
    def suspended_or_not(self, suspend: bool) -> None:
        changed = self.wanted.spec.model_copy(update={"suspend": suspend})
        self.wanted = Goal("reader", changed, self.wanted.release, self.wanted.key, self.wanted.fleet_digest)
        self._pass()

    @rule(name=NAMES)
    def device_joins(self, name: str) -> None:
        if name not in self.fleet.devices:
            if name in self.gone:
                self.fleet.devices[name] = self.gone.pop(name)
            else:
                self._add(name)
            self.membership += 1
            self._regoal()

    @rule(name=NAMES)
    @precondition(lambda self: len(self.fleet.devices) > 2)
    def device_leaves(self, name: str) -> None:
        if name in self.fleet.devices:
            self.gone[name] = self.fleet.devices.pop(name)
            self.membership += 1
            self._regoal()

    @rule(name=NAMES, store=st.sampled_from(["0", "1", "2"]), canary=st.booleans())
    def labels_change(self, name: str, store: str, canary: bool) -> None:
        if name in self.fleet.devices:
            self.fleet.devices[name].labels = {"store": store, "ring": "canary" if canary else "wide"}
            self.membership += 1
            self._regoal()

    @rule(name=NAMES, held=st.booleans())
    def device_is_held_back_or_not(self, name: str, held: bool) -> None:
        if name in self.fleet.devices:
            self.fleet.devices[name].held = Hold("Conflict", "two fleets claim it") if held else None
            self._pass()

    @rule(what=st.sampled_from(["approve", "pause", "resume", "resume", "abort"]))
    def person_acts(self, what: str) -> None:
        state = self.fleet.state
        try:
            self.fleet.state = {
                "approve": lambda: approve(state, state.wave + 1),
                "pause": lambda: pause(state),
                "resume": lambda: resume(state),
                "abort": lambda: abort(state),
            }[what]()
        except EdgewrightError:
            assert state.phase in ENDED or state.controls.aborted or what == "resume"
        self._pass()

    # ── what must hold at every pass ──────────────────────────────────────────────────────────────────────────

    def _pass(self) -> None:
        before, views, now = self.fleet.state, self.fleet.views(), self.fleet.now
        result = self.fleet.decide(self.wanted)
        after = result.state
        self._decides_once(result, views)
        self._time_alone_changes_nothing_before(result, views)
        self._within_budget(before, result)
        self._verified_is_true(after)
        self._waves_in_order(before, result)
        self._rejected_stays_rejected(before, result)
        self._held_devices_keep_what_they_have(result)
        if self._halted_now(before, after):
            self._nobody_keeps_the_rejected(after)
        assert after.devices.keys() == self.fleet.devices.keys() or after.key != self.wanted.key
        assert now == self.fleet.now

    def _decides_once(self, result: Advance, views: dict[str, DeviceView]) -> None:
        again = advance(STATE.validate_json(STATE.dump_json(result.state)), self.wanted, views, self.fleet.now)
        assert again.state == result.state
        assert not again.assign
        assert not again.events
        assert again.wake_at == result.wake_at

    def _time_alone_changes_nothing_before(self, result: Advance, views: dict[str, DeviceView]) -> None:
        wake = result.wake_at
        assert wake is None or wake > self.fleet.now
        until = wake - timedelta(seconds=1) if wake else self.fleet.now + timedelta(days=400)
        if until > self.fleet.now:
            later = advance(result.state, self.wanted, views, until)
            assert later.state == result.state, (later.events, result.wake_at)

    def _within_budget(self, before: RolloutState, result: Advance) -> None:
        """Whoever gets the release leaves no more devices changing than allowed; the offline are not changed."""
        budget = self.wanted.spec.max_unavailable
        if budget is None:
            return
        labels = {name: device.labels for name, device in self.fleet.devices.items()}

        def group(name: str) -> str:
            return labels[name][budget.per] if budget.per else ""

        for name, _ in result.assign:
            progress = result.state.devices[name]
            was = before.devices.get(name)
            if progress.state != "offered" or (was is not None and was.state in IN_FLIGHT):
                continue
            changing = [
                other
                for other, its in result.state.devices.items()
                if its.state in IN_FLIGHT and group(other) == group(name)
            ]
            assert len(changing) <= budget.count, changing

    def _verified_is_true(self, state: RolloutState) -> None:
        """No device counts as verified that did not itself verify this release after it was assigned."""
        for name, progress in state.devices.items():
            if progress.state in {"verified", "rolledBack"}:
                wanted = progress.release.fingerprint if progress.release else None
                assert any(
                    version > progress.after and what == wanted for version, what in self.fleet.devices[name].proven
                ), (name, progress)

    def _waves_in_order(self, before: RolloutState, result: Advance) -> None:
        if not any(event.reason == "WaveStarted" for event in result.events):
            return
        state, success = result.state, self.wanted.spec.success
        for earlier in range(state.wave):
            members = {name: p for name, p in state.devices.items() if p.wave == earlier}
            counted = {n: p for n, p in members.items() if n not in state.controls.accepted}
            verified = sum(p.state == "verified" for p in counted.values())
            failed = sum(p.state == "failed" for p in counted.values())
            ever = [p for p in members.values() if p.state == "verified"]
            assert ever or not members, f"wave {state.wave} began without evidence from wave {earlier}"
            # One that was offline when its wave was judged catches up alone: it holds nobody up.
            back = {name for name, progress in before.devices.items() if progress.state == "deferred"}
            still = [p for n, p in members.items() if n not in back and (p.state == "pending" or p.state in IN_FLIGHT)]
            soaked = self.wanted.spec.waves[earlier].soak > timedelta(0)
            assert not still or soaked or earlier + 1 < state.wave, f"wave {state.wave} began too early"
            assert verified + 1e-9 >= success.min_ratio * (verified + failed)

    def _rejected_stays_rejected(self, before: RolloutState, result: Advance) -> None:
        if all(rejection.key != self.wanted.key for rejection in before.rejected):
            return
        for name, assigned in result.assign:
            progress = result.state.devices[name]
            assert progress.state in {"returning", "deferred"}
            assert assigned in {progress.verified, result.state.proven, None}

    def _held_devices_keep_what_they_have(self, result: Advance) -> None:
        for name, assigned in result.assign:
            if self.fleet.devices[name].held is not None:
                progress = result.state.devices[name]
                assert assigned in {progress.verified, result.state.proven, None}, "only a way back is assigned"

    def _halted_now(self, before: RolloutState, after: RolloutState) -> bool:
        return len(after.rejected) > len(before.rejected)

    def _nobody_keeps_the_rejected(self, after: RolloutState) -> None:
        rejected = after.rejected[-1].release
        for progress in after.devices.values():
            kept = progress.release is not None and progress.release.fingerprint == rejected
            assert not kept or _returns_to(progress, after) in {rejected}

    # ── what must hold in the end ─────────────────────────────────────────────────────────────────────────────

    def teardown(self) -> None:
        if not hasattr(self, "wanted"):
            return
        for _ in range(60):
            self.fleet.now += timedelta(minutes=9)
            self.fleet.work()
            self._pass()
        state = self.fleet.state
        if state.key != self.wanted.key:
            assert state.reason == "ReleaseRejected"
            return
        assert state.phase in STOPPED or state.reason in WAITS_FOR_PEOPLE, (state.phase, state.reason)
        assert state.reason
        if state.phase in {Phase.FAILED, Phase.ABORTED}:
            assert self.wanted.key in {rejection.key for rejection in state.rejected}
            self._reachable_devices_run_what_they_verified_last(state)

    def _reachable_devices_run_what_they_verified_last(self, state: RolloutState) -> None:
        for name, progress in state.devices.items():
            device = self.fleet.devices[name]
            wanted = _returns_to(progress, state)
            if (
                not device.online
                or device.held is not None
                or progress.release is None
                or wanted in device.refuses
                or wanted in device.hangs
            ):
                continue
            if progress.state == "rolledBack":
                assert device.active == wanted
            if progress.state == "deferred":
                raise AssertionError(f"{name} is online, and still deferred")


def _returns_to(progress: DeviceProgress, state: RolloutState) -> str | None:
    if progress.verified is not None:
        return progress.verified.fingerprint
    same = state.proven and state.release and state.proven.fingerprint == state.release.fingerprint
    return state.proven.fingerprint if state.proven and not same else None


def _with(view: DeviceView, **fields: Any) -> DeviceView:
    return replace(view, **fields)


RolloutMachine.TestCase.settings = settings(
    max_examples=examples(120),
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestRolloutUnderChaos = RolloutMachine.TestCase
