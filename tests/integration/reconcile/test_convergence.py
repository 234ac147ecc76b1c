"""Whatever happens on the way, a continuous run comes to the state of the last commit. In virtual time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgewright.core.address import Address
from edgewright.core.rollout.state import Controls
from edgewright.core.status.conditions import check, headline
from edgewright.reconcile import build_pool as working
from edgewright.reconcile import reconciler as reconciling
from harness.memory_run import FILES, model, rollout
from harness.profiles import examples
from harness.virtual_time import Event, Stepped

COUNTER = {**model("counter", epochs=9, thresholds=False), **rollout("counter")}
TEMPLATES = ["id = '{{ device.id }}'\n", "name = '{{ device.id }}'\n"]
DEVICES = ("lane-1", "lane-2")
PARTS = ("state", "share", "disk")
READER = Address("rollout", "reader")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(working, "_wait", lambda cancel, seconds: None)
    monkeypatch.setattr(reconciling, "_POLL_SECONDS", 10.0)


@dataclass(frozen=True)
class Content:
    """What a commit declares, as far as it differs."""

    epochs: int = 3
    counter: bool = False
    template: int = 0

    def files(self) -> dict[str, str | None]:
        return {
            **model("reader", epochs=self.epochs),
            **(COUNTER if self.counter else dict.fromkeys(COUNTER)),
            "templates/lane.toml.j2": TEMPLATES[self.template],
        }


CONTENTS = st.builds(Content, st.sampled_from([3, 4, 5]), st.booleans(), st.sampled_from([0, 1]))
HAPPENINGS = st.one_of(
    st.tuples(st.just("commit"), CONTENTS),
    st.tuples(st.just("commit"), CONTENTS),
    st.tuples(st.just("crash"), st.integers(0, 30)),
    st.tuples(st.sampled_from(["refuse", "agree", "off", "on"]), st.sampled_from(DEVICES)),
    st.tuples(st.sampled_from(["down", "up"]), st.sampled_from(PARTS)),
    st.tuples(st.sampled_from(["pause", "resume", "restart"]), st.none()),
    st.tuples(st.just("minutes"), st.sampled_from([1, 6, 20])),
)
SCRIPTS = st.lists(st.tuples(st.integers(0, 6), HAPPENINGS), max_size=12)


@cache
def releases(content: Content) -> dict[str, str]:
    """By model, the release that a world in which nothing ever happened comes to."""
    with TemporaryDirectory() as folder:
        stepped = Stepped(Path(folder), FILES)
        stepped.world.source.commit(content.files())
        stepped.play([], lambda: _all_ready(stepped))
        assert _all_ready(stepped), stepped.conditions
        (found, *others) = stepped.world.running().values()
        assert others == [found]
        return found


def _all_ready(stepped: Stepped) -> bool:
    found = [headline(conditions) for conditions in stepped.conditions.values()]
    return bool(found) and all(one is not None and one.type == "Ready" for one in found)


def _at_rest(stepped: Stepped, revision: str) -> bool:
    """Nothing goes on, and nothing is waited for."""
    found = [headline(conditions) for conditions in stepped.conditions.values()]
    return bool(found) and all(
        one is not None and one.type != "Reconciling" and one.observed_revision == revision for one in found
    )


@settings(max_examples=examples(80), deadline=None, suppress_health_check=list(HealthCheck))
@given(script=SCRIPTS)
def test_whatever_happens_it_comes_to_the_last_commit(script: list[tuple[int, tuple[str, object]]]) -> None:
    with TemporaryDirectory() as folder:
        stepped = Stepped(Path(folder), FILES)
        last = [Content()]
        events = [Event(beats, f"{what} {value}", _act(stepped, what, value, last)) for beats, (what, value) in script]
        events.append(Event(0, "all is well", lambda: _heal(stepped)))
        stepped.play(events, lambda: _at_rest(stepped, stepped.world.source.revision()))
        problems = _problems(stepped, releases(last[0]))
        assert not problems, "\n".join([*problems, *stepped.log, *stepped.world.log.lines])


def _act(stepped: Stepped, what: str, value: object, last: list[Content]) -> Callable[[], None]:
    world, devices, fates = stepped.world, stepped.devices, stepped.fates

    def commit() -> None:
        assert isinstance(value, Content)
        last[0] = value
        world.source.commit(value.files())

    def crash() -> None:
        assert isinstance(value, int)
        fates.writes_left = value

    def minutes() -> None:
        assert isinstance(value, int)
        stepped.now += timedelta(minutes=value)

    acts: Mapping[str, Callable[[], object]] = {
        "commit": commit,
        "crash": crash,
        "minutes": minutes,
        "restart": stepped.restart,
        "refuse": lambda: devices.refused.add(str(value)),
        "agree": lambda: devices.refused.discard(str(value)),
        "off": lambda: devices.online.discard(str(value)),
        "on": lambda: devices.online.add(str(value)),
        "down": lambda: fates.down.add(str(value)),
        "up": lambda: fates.down.discard(str(value)),
        "pause": lambda: _ask(stepped, Controls(paused=True)),
        "resume": lambda: _ask(stepped, Controls()),
    }
    return lambda: (acts[what](), None)[1]


def _ask(stepped: Stepped, controls: Controls) -> None:
    """Ask as another process does: our crashes and errors are not its own."""
    memory = stepped.world.state.memory
    memory.tables.controls[READER] = controls
    memory.version += 1


def _heal(stepped: Stepped) -> None:
    stepped.fates.down.clear()
    stepped.devices.refused.clear()
    stepped.devices.online.update(DEVICES)
    _ask(stepped, Controls())


def _problems(stepped: Stepped, wanted: Mapping[str, str]) -> list[str]:
    """What is not as the last commit says."""
    world, state = stepped.world, stepped.world.state
    kept = state.conditions()
    problems = [f"{a}: {broken}" for a, conditions in kept.items() for broken in check(conditions)]
    if not _at_rest(stepped, world.source.revision()):
        problems.append(f"it does not come to rest: {[headline(c) for c in stepped.conditions.values()]}")
    if state.open_intents():
        problems.append(f"open intents: {state.open_intents()}")
    if state.requested_controls():
        problems.append(f"nobody took up {state.requested_controls()}")
    if state.last_revision() != world.source.revision():
        problems.append("it does not say that the last revision is applied")
    if {address for address in kept if address.kind != "repository"} != set(world.source.snapshot().resources):
        problems.append(f"conditions of {sorted(map(str, kept))}")
    for device in DEVICES:
        problems += _of_device(stepped, device, wanted)
    for name, release in wanted.items():
        found = headline(stepped.conditions.get(Address("rollout", name), ()))
        if (name, release) not in stepped.devices.rejected and (found is None or found.type != "Ready"):
            problems.append(f"rollout {name} is {found}")
    return problems


def _of_device(stepped: Stepped, device: str, wanted: Mapping[str, str]) -> list[str]:
    devices, entry = stepped.devices, stepped.world.state.assignments().get(device)
    expected = {name for name, release in wanted.items() if (name, release) not in devices.rejected}
    if entry is None:
        return [f"{device} is assigned nothing"] if expected else []
    problems = []
    if not entry.published or devices.assignments.get(device) != entry.assignment:
        problems.append(f"{device}: what is decided is not published: {entry}")
    slots = {slot.model: slot for slot in entry.assignment.models}
    running = devices.active.get(device, {})
    for name, release in wanted.items():
        slot, active = slots.get(name), running.get(name)
        if slot != active:
            problems.append(f"{device} runs {active} of {name}, and is assigned {slot}")
        # Where it was rejected, the last one that was verified stays.
        if name in expected and (active is None or active.release != release):
            problems.append(f"{device} runs {active} of {name} instead of {release}")
    if extra := slots.keys() - wanted.keys() - {"counter"}:
        problems.append(f"{device} is assigned {extra}")
    return problems
