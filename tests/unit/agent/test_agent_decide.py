"""``decide`` under everything that can happen to a device, at any time: hypothesis plays repository, disk and probe."""

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from edgewright_agent.decide import (
    Accept,
    Action,
    Clean,
    Deactivate,
    DeviceView,
    Failure,
    Fetch,
    FetchManifest,
    ModelView,
    Poll,
    Probe,
    Reject,
    Remove,
    Report,
    Sleep,
    Stage,
    Switch,
    Verify,
    consider,
    decide,
    held_up,
)
from edgewright_agent.models.packages import Package
from edgewright_wire.canonical import digest_bytes
from edgewright_wire.messages import Assignment, Blob, ModelAssignment
from edgewright_wire.slots import Slot
from harness.profiles import examples

DEVICE = "dev-1"
RELEASES = 4
MODELS = ("counter", "reader")


def blob(text: str) -> Blob:
    return Blob(digest=digest_bytes(text.encode()), size=len(text))


def a_target(model: str, release: int) -> ModelAssignment:
    return ModelAssignment(model=model, package=blob(f"{model}-{release}"), release=f"r{release}")


def a_package(model: str, release: int) -> Package:
    # The first release cannot be proved at all; releases share their golden samples.
    problem = "it has no golden.npz" if release == 0 else ""
    return Package((("golden.npz", blob("golden")), ("model.onnx", blob(f"weights-{model}-{release}"))), problem)


PACKAGES = {
    a_target(model, release).package.digest: a_package(model, release)
    for model in MODELS
    for release in range(RELEASES)
}


class DeviceMachine(RuleBasedStateMachine):
    """A device whose disk is a view. Between any two actions it may lose power, and everything but its disk."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1.0
        self.view = DeviceView(DEVICE)
        self.offered: Assignment | None = None
        self.published: Assignment | None = None
        self.highest = 0
        self.probe_fails: set[str] = set()
        self.verify_fails: set[str] = set()
        self.fetch_fails = False
        self.disk_fails = False
        self.proven: set[tuple[str, str, Slot]] = set()
        self.verified_once: set[str] = set()
        self.tries: dict[tuple[str, str, int], int] = {}

    @initialize()
    def begin(self) -> None:
        self.view = DeviceView(DEVICE)

    # ── what the world does ───────────────────────────────────────────────────────────────────────────────────

    @rule(releases=st.tuples(*(st.none() | st.integers(0, RELEASES - 1) for _ in MODELS)), back=st.booleans())
    def publish_anything(self, releases: tuple[int | None, ...], back: bool) -> None:
        self.publish(releases, back)

    def publish(self, releases: tuple[int | None, ...], back: bool) -> None:
        """A newer assignment appears; or, against the rules, an older one."""
        self.highest += 1
        version = max(1, self.highest - 3) if back else self.highest
        targets = tuple(a_target(model, r) for model, r in zip(MODELS, releases, strict=True) if r is not None)
        self.published = Assignment(device=DEVICE, version=version, models=targets)

    @rule(
        release=st.integers(1, RELEASES - 1), model=st.sampled_from(MODELS), where=st.sampled_from(["probe", "verify"])
    )
    def turn_bad(self, release: int, model: str, where: str) -> None:
        (self.probe_fails if where == "probe" else self.verify_fails).add(a_target(model, release).package.digest)

    @rule()
    def turn_good(self) -> None:
        self.probe_fails.clear()
        self.verify_fails.clear()

    @rule()
    def break_network(self) -> None:
        self.fetch_fails = True

    @rule()
    def break_disk(self) -> None:
        self.disk_fails = True

    @rule()
    def repair(self) -> None:
        self.fetch_fails = self.disk_fails = False

    @rule(seconds=st.floats(0.0, 1000.0))
    def hold_fetching_up(self, seconds: float) -> None:
        """The window of the day closes, or the bandwidth is used up."""
        self.view = dataclasses.replace(self.view, fetch_at=self.now + seconds)

    @rule()
    def lose_power(self) -> None:
        """What is not on the disk is gone."""
        self.offered = None
        models = {name: dataclasses.replace(model, retry_at=0.0) for name, model in self.view.models.items()}
        self.view = dataclasses.replace(self.view, models=models, poll_at=0.0, report_at=0.0, clean_at=0.0)

    @rule(seconds=st.floats(0.1, 400.0))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: any(model.active for model in self.view.models.values()))
    @rule(data=st.data())
    def damage_a_slot(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(n for n, m in self.view.models.items() if m.active)))
        slot = data.draw(st.sampled_from(Slot))
        model = self.view.models[name]
        # Both slots at once is the loss of the device.
        if model.holds(slot.other) is not None:
            self._model(name, slots={**model.slots, slot: None})
            if model.holds(slot) == model.verified:
                self.verified_once.discard(name)
            self.proven = {entry for entry in self.proven if entry[1:] != (name, slot)}

    @rule(steps=st.integers(1, 12) | st.just(60))
    def act(self, steps: int) -> None:
        """Some actions, or all that are due, soon after the last ones."""
        self.work(steps)

    def work(self, steps: int) -> None:
        self.now += 3.0
        for _ in range(steps):
            if isinstance(self._step(), Sleep):
                break

    @rule(release=st.integers(1, RELEASES - 1), steps=st.integers(1, 12) | st.just(60))
    def update(self, release: int, steps: int) -> None:
        """The ordinary thing: a newer release for all models, and the device at work on it."""
        self.publish((release,) * len(MODELS), back=False)
        self.work(steps)

    # ── the agent, with the disk as a value ───────────────────────────────────────────────────────────────────

    def _step(self) -> Action:
        action = decide(self.view, self.offered, self.now)
        self._perform(action)
        return action

    def _model(self, name: str, **changes: object) -> None:
        model = dataclasses.replace(self.view.models.get(name, ModelView(name)), **changes)  # type: ignore[arg-type]  # the test's own field names
        self.view = dataclasses.replace(self.view, models={**self.view.models, name: model})

    def _perform(self, action: Action) -> None:  # noqa: PLR0912 - one arm per action
        name = getattr(action, "model", None) or (t.model if (t := getattr(action, "target", None)) else "")
        if self.disk_fails and isinstance(action, Fetch | FetchManifest | Stage | Switch | Remove | Deactivate):
            self._model(name, retry_at=self.now + 5.0)
            return
        match action:
            case Sleep(seconds):
                assert seconds >= 0
            case Report():
                self.view = dataclasses.replace(self.view, report_at=self.now + 30.0)
            case Poll():
                self.view = dataclasses.replace(self.view, poll_at=self.now + 2.0)
                if not self.fetch_fails:
                    self.offered = self.published
            case Accept(assignment):
                assert self.view.accepted is None or assignment.version > self.view.accepted.version
                models = {n: dataclasses.replace(m, retry_at=0.0) for n, m in self.view.models.items()}
                self.view = dataclasses.replace(self.view, accepted=assignment, models=models)
            case FetchManifest(_, package):
                self._fetched(name, package.digest, manifest=True)
            case Fetch(_, wanted):
                assert self.view.fetch_at <= self.now
                self._fetched(name, wanted.digest, manifest=False)
            case Stage(target, slot):
                self._stage(target, slot)
            case Probe(target, slot):
                assert self.view.models[name].holds(slot) == target
                self._count(target)
                if target.package.digest in self.probe_fails:
                    self._fail(target)
                else:
                    self._model(name, probed=target)
                    self.proven.add((target.package.digest, name, slot))
            case Switch(target, slot):
                self._switch(target, slot)
            case Verify(target):
                assert self.view.models[name].running == target
                if target.package.digest in self.verify_fails:
                    self._fail(target)
                else:
                    self._model(name, verified=target)
                    self.verified_once.add(name)
            case Reject(target):
                self._fail(target)
            case Deactivate(model_name):
                self._model(model_name, active=None)
            case Remove(model_name):
                models = {n: m for n, m in self.view.models.items() if n != model_name}
                self.view = dataclasses.replace(self.view, models=models)
                self.verified_once.discard(model_name)
            case Clean(digests):
                self.view = dataclasses.replace(
                    self.view, blobs=self.view.blobs - digests, whole=self.view.whole - digests
                )
                self._see_packages()

    def _stage(self, target: ModelAssignment, slot: Slot) -> None:
        name = target.model
        model = self.view.models.get(name, ModelView(name))
        assert slot is not model.active, "the active slot is never written"
        assert {b.digest for _, b in PACKAGES[target.package.digest].files} <= self.view.whole
        verified = None if model.verified == target else model.verified
        self._model(name, slots={**model.slots, slot: target}, probed=None, verified=verified)
        if verified is None:
            self.verified_once.discard(name)
        self.proven = {entry for entry in self.proven if entry[1:] != (name, slot)}

    def _switch(self, target: ModelAssignment, slot: Slot) -> None:
        model = self.view.models[target.model]
        assert model.holds(slot) == target
        assert (target.package.digest, target.model, slot) in self.proven, "only what passed its probe becomes active"
        failure = None if model.failure is not None and model.failure.target == target else model.failure
        self._model(target.model, active=slot, failure=failure)

    def _fetched(self, name: str, digest: str, *, manifest: bool) -> None:
        if self.fetch_fails:
            self._model(name, retry_at=self.now + 5.0)
            return
        self.view = dataclasses.replace(self.view, blobs=self.view.blobs | {digest}, whole=self.view.whole | {digest})
        self._see_packages()
        assert not manifest or digest in self.view.packages

    def _see_packages(self) -> None:
        seen = {digest: package for digest, package in PACKAGES.items() if digest in self.view.whole}
        self.view = dataclasses.replace(self.view, packages=seen)

    def _count(self, target: ModelAssignment) -> None:
        assert self.view.accepted is not None
        key = (target.model, target.release, self.view.accepted.version)
        model = self.view.models[target.model]
        assert not model.failed(target, self.view.accepted.version), "a failed release is not tried again"
        self.tries[key] = self.tries.get(key, 0) + 1

    def _fail(self, target: ModelAssignment) -> None:
        assert self.view.accepted is not None
        failure = Failure(target, self.view.accepted.version, "ProbeMismatch", "differs")
        self._model(target.model, failure=failure, probed=None)

    # ── what always holds ─────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def what_is_active_has_passed_its_probe(self) -> None:
        for name, model in self.view.models.items():
            if model.active is not None and (running := model.running) is not None:
                assert (running.package.digest, name, model.active) in self.proven

    @invariant()
    def a_model_that_was_verified_once_is_never_switched_off(self) -> None:
        for name in self.verified_once & set(self.view.models):
            model = self.view.models[name]
            assert model.active is not None or model.verified == (model.failure.target if model.failure else None)

    @invariant()
    def left_alone_it_converges(self) -> None:
        """From every state reached: with a sound network and disk, the newest assignment or a reason, and then rest."""
        kept = dict(self.__dict__)
        try:
            self.proven, self.verified_once, self.tries = set(self.proven), set(self.verified_once), dict(self.tries)
            self.fetch_fails = self.disk_fails = False
            self.view = dataclasses.replace(self.view, fetch_at=0.0)
            self._run_to_rest()
            self._is_at_rest()
        finally:
            self.__dict__.update(kept)

    def _run_to_rest(self) -> None:
        for _ in range(3):
            self.now += 500.0
            for _ in range(60):
                if isinstance(self._step(), Sleep):
                    break
            else:
                raise AssertionError(f"never comes to rest: {self.view}")

    def _is_at_rest(self) -> None:
        accepted = self.view.accepted
        if self.published is not None and consider(DEVICE, accepted, self.published) is None:
            assert accepted == self.published
        if accepted is None:
            return
        assert set(self.view.models) <= {target.model for target in accepted.models}
        for target in accepted.models:
            model = self.view.models[target.model]
            if model.failed(target, accepted.version):
                assert model.running is None or model.running == model.verified
            else:
                assert model.running == model.verified == target


DeviceMachine.TestCase.settings = settings(max_examples=examples(200), stateful_step_count=25, deadline=None)
TestDevice = DeviceMachine.TestCase


def test_outside_the_window_only_fetching_waits_and_a_rollback_to_what_is_on_the_disk_goes_on() -> None:
    """One model needs a blob, the other only to switch back to what its idle slot holds."""
    back, new = a_target("counter", 1), a_target("reader", 2)
    package = PACKAGES[new.package.digest]
    counter = ModelView("counter", Slot.A, {Slot.A: a_target("counter", 2), Slot.B: back}, verified=back, probed=back)
    device = DeviceView(
        DEVICE,
        accepted=Assignment(device=DEVICE, version=2, models=(new, back)),
        models={"counter": counter},
        packages={new.package.digest: package},
        poll_at=900.0,
        report_at=900.0,
        fetch_at=500.0,
    )
    assert held_up(device, 100.0) == {"reader"}
    assert decide(device, None, 100.0) == Verify(a_target("counter", 2))
    settled = dataclasses.replace(counter, verified=a_target("counter", 2), probed=back)
    device = dataclasses.replace(device, models={"counter": settled})
    assert decide(device, None, 100.0) == Switch(back, Slot.B)
    done = dataclasses.replace(device, models={"counter": dataclasses.replace(settled, active=Slot.B, verified=back)})
    assert decide(done, None, 100.0) == Sleep(400.0)
    assert isinstance(decide(done, None, 500.0), Fetch)
    assert held_up(done, 500.0) == frozenset()


def test_an_older_assignment_is_refused_by_name() -> None:
    new, old = (Assignment(device=DEVICE, version=version) for version in (5, 4))
    refusal = consider(DEVICE, new, old)
    assert refusal is not None
    assert refusal.reason == "AssignmentRollback"
    assert "4" in refusal.message
    assert isinstance(decide(DeviceView(DEVICE, accepted=new, report_at=9.0, poll_at=9.0), old, 1.0), Sleep)


def test_another_content_under_the_same_version_is_refused() -> None:
    one = Assignment(device=DEVICE, version=5)
    refusal = consider(DEVICE, one, one.model_copy(update={"models": (a_target("reader", 1),)}))
    assert refusal is not None
    assert refusal.reason == "AssignmentConflict"


def test_an_assignment_for_another_device_is_refused() -> None:
    refusal = consider(DEVICE, None, Assignment(device="dev-2", version=1))
    assert refusal is not None
    assert refusal.reason == "WrongDevice"
