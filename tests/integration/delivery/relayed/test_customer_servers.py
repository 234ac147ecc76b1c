"""What goes wrong between edgewright and a customer's server, whichever it is: no answer, a wrong one, a lost one."""

import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any, get_args

import pytest

from edgewright.core.fleet.twins import Twin
from edgewright.delivery.relayed.errors import Busy, Refused
from edgewright.delivery.relayed.worker import Pace
from edgewright.errors import DeliveryError, DeliveryUnavailable, EdgewrightError
from edgewright.http.limits import Limits
from edgewright_wire.messages import Phase
from harness.profiles import THOROUGH
from rigs.base import Behaviour, Grounds, assignments, work
from rigs.hawkbit import HawkbitRig, hawkbit_delivery
from rigs.mender_server import MenderServerRig, mender_delivery
from rigs.servers import model_of
from servers.api_server import FaultName
from servers.hawkbit.server import HawkbitServer
from servers.mender_server import MenderServer

SomeRig = HawkbitRig | MenderServerRig
SYSTEMS = ("hawkbit", "mender_server")
API = {"hawkbit": "/rest/v1", "mender_server": "/api/management"}
QUICK = Pace(under_way=0.02, at_most=0.02, at_rest=0.05, backoff=0.02, longest=0.1, silence=0.1)


@contextmanager
def opened(system: str, folder: Path, **about: Any) -> Iterator[SomeRig]:
    """A rig; ``about``: its attributes, such as pace and limits."""
    kinds: dict[str, Any] = {"hawkbit": HawkbitServer, "mender_server": MenderServer}
    rigs: dict[str, Any] = {"hawkbit": HawkbitRig, "mender_server": MenderServerRig}
    ways: dict[str, Callable[[str], Any]] = {"hawkbit": hawkbit_delivery, "mender_server": mender_delivery}
    with kinds[system](tls=about.pop("tls", None)) as server:
        kind = type("Rig", (rigs[system],), about)
        rig: SomeRig = kind(Grounds(folder, ways[system](server.url)), server)
        try:
            yield rig
        finally:
            rig.close()


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def rig(system: str, tmp_path: Path) -> Iterator[SomeRig]:
    with opened(system, tmp_path, limits=Limits(idle=4.0, total=6.0)) as made:
        yield made


def twin_of(rig: SomeRig, device: str) -> Twin:
    twin = rig.grounds.twins.twin(device)
    assert twin is not None
    return twin


def eventually(check: Callable[[], object], step: Callable[[], object] = lambda: None) -> None:
    """Wait for something, and fail loudly when it does not come."""
    end = time.monotonic() + 30
    while not check():
        assert time.monotonic() < end, "it never came"
        step()
        time.sleep(0.01)  # other threads work on it


@pytest.mark.parametrize("fault", get_args(FaultName))
def test_a_server_in_trouble_fails_no_device_and_is_gone_on_with(rig: SomeRig, system: str, fault: FaultName) -> None:
    rig.add("lane-1")
    work(rig)
    release = rig.release(1)
    rig.driver.assign(assignments(1, ["lane-1"], release), rig.configs())
    rig.server.fail(fault, path=API[system])

    with pytest.raises((DeliveryError, DeliveryUnavailable)) as caught:
        rig.step()

    assert rig.password not in str(caught.value)
    assert twin_of(rig, "lane-1").model("reader").failed is None
    work(rig)
    assert rig.runs("lane-1") == release.release
    assert model_of(rig, "lane-1").phase is Phase.VERIFIED
    assert rig.installs("lane-1") == 1


def test_every_error_says_which_server_and_who_asked(rig: SomeRig) -> None:
    rig.add("lane-1")
    for fault, kind in (("error", Busy), ("limit", Busy), ("html", DeliveryUnavailable), ("cut", DeliveryUnavailable)):
        rig.server.fail(fault)  # type: ignore[arg-type]  # names of faults
        with pytest.raises(kind, match=rig.server.url):
            rig.step()
    rig.password = "wrong"
    rig.restart()
    with pytest.raises(Refused) as caught:
        rig.step()
    assert caught.value.reason == "AuthenticationFailed"
    assert rig.server.url in caught.value.message
    assert "secret" in caught.value.hint
    assert "wrong" not in str(caught.value)


def test_a_server_that_is_not_there_is_unavailable(rig: SomeRig) -> None:
    rig.add("lane-1")
    rig.server._server.server_close()
    with pytest.raises(DeliveryUnavailable, match="does not answer"):
        rig.step()


def test_a_certificate_that_nobody_vouches_for_is_not_accepted(system: str, tmp_path: Path) -> None:
    pem = tmp_path / "server.pem"
    certificate = tmp_path / "server.crt"
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=127.0.0.1 -addext subjectAltName=IP:127.0.0.1"
    )
    files = ["-keyout", str(pem), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + certificate.read_bytes())
    with opened(system, tmp_path / "rig", tls=pem) as rig:
        rig.add("lane-1")
        with pytest.raises(DeliveryUnavailable, match="certificate") as caught:
            rig.step()
        assert "SSL_CERT_FILE" in caught.value.hint
        assert rig.server.requests == [], "nothing was sent, least of all the password"


@pytest.mark.parametrize("done", [True, False], ids=["done", "dropped"])
def test_any_answer_may_get_lost_and_the_engine_end_there(system: str, tmp_path: Path, done: bool) -> None:
    devices = ["lane-1", "lane-2"]
    with opened(system, tmp_path) as rig:
        rig.add(*devices)
        work(rig)
        version = 0
        # Each request is lost once, on its way there or on its way back; make test-all loses each both ways.
        for number in range(1, 200) if THOROUGH else range(1 if done else 2, 200, 2):
            version += 1
            release = rig.release(1 + version % 2, config=f"round = {number}".encode())
            rig.driver.assign(assignments(version, devices, release), rig.configs())
            rig.server.lose(number, API[system], done=done)
            for _ in range(400):
                try:
                    if not rig.step():
                        break
                except DeliveryUnavailable:
                    for each in rig.devices.values():
                        while each.step():  # devices go on while the engine is away
                            pass
                    rig.restart()
            for device in devices:
                assert rig.runs(device) == release.release, f"after request {number} was lost"
                assert model_of(rig, device).phase is Phase.VERIFIED
                assert rig.installs(device) == version, f"after request {number} was lost"
            if rig.server.recover():
                break
        assert number > 10, "every request of a whole round was lost once"
        _nothing_was_made_twice(rig, version, devices)


def _nothing_was_made_twice(rig: SomeRig, releases: int, devices: list[str]) -> None:
    if isinstance(rig, HawkbitRig):
        state = rig.server.state
        assert len(state.targets) == len(devices)
        assert len(state.modules) == len(state.sets) == releases
        assert all(len(module.artifacts) == 1 for module in state.modules.values())
        assert sorted((a.target, a.set_id) for a in state.actions.values()) == sorted(
            (device, set_id) for set_id in state.sets for device in devices
        )
    else:
        assert len(rig.server.artifacts) == len(rig.server.deployments) == releases
        assert all(sorted(each.rows) == sorted(each.devices) for each in rig.server.deployments.values())


@contextmanager
def attended(rig: SomeRig) -> Iterator[threading.Event]:
    woken = threading.Event()
    with rig.driver.attend(woken.set):
        yield woken


def test_workers_bring_what_is_assigned_and_wake_the_engine(system: str, tmp_path: Path) -> None:
    with opened(system, tmp_path, pace=QUICK) as rig, attended(rig) as woken:
        rig.add("lane-1")
        device = rig.devices["lane-1"]
        eventually(lambda: rig.driver.observe({}), device.step)
        woken.clear()
        release = rig.release(1)
        rig.driver.assign(assignments(1, ["lane-1"], release), rig.configs())
        eventually(lambda: model_of(rig, "lane-1").phase is Phase.VERIFIED, device.step)
        assert woken.is_set()
        assert rig.runs("lane-1") == release.release
    assert not any(thread.name.startswith(("edgewright hawk", "edgewright mend")) for thread in threading.enumerate())


def test_a_wrong_password_is_said_of_every_device_until_it_is_right(system: str, tmp_path: Path) -> None:
    with opened(system, tmp_path, pace=QUICK) as rig:
        rig.add("lane-1", "lane-2")
        work(rig)
        rig.server_password("changed")
        with attended(rig):
            eventually(lambda: {twin.reason for twin in rig.grounds.twins.twins()} == {"AuthenticationFailed"})
            twin = twin_of(rig, "lane-1")
            assert rig.server.url in twin.message
            assert "changed" not in twin.message and rig.password not in twin.message
            rig.password = "changed"
            eventually(lambda: {twin.reason for twin in rig.grounds.twins.twins()} == {""})


def test_a_server_that_is_silent_for_long_is_said_to_be_out_of_reach(system: str, tmp_path: Path) -> None:
    with opened(system, tmp_path, pace=QUICK) as rig:
        rig.add("lane-1")
        work(rig)
        rig.server.fail("busy", times=10_000)
        with attended(rig):
            eventually(lambda: twin_of(rig, "lane-1").reason == "Unreachable")
            sequence = twin_of(rig, "lane-1").sequence
            asked = len(rig.server.requests)
            eventually(lambda: len(rig.server.requests) > asked + 3)
            assert twin_of(rig, "lane-1").sequence == sequence, "the same trouble is no news"
            rig.server.recover()
            eventually(lambda: twin_of(rig, "lane-1").reason == "")


def test_a_server_is_left_alone_for_as_long_as_it_asks(system: str, tmp_path: Path) -> None:
    with opened(system, tmp_path, pace=QUICK) as rig:
        rig.add("lane-1")
        work(rig)
        rig.server.requests.clear()
        rig.server.fail("limit", retry_after="1")
        with attended(rig):
            eventually(lambda: len(rig.server.requests) >= 2, lambda: rig.driver.retire([]))
        first, second = rig.server.requests[:2]
        assert second.at - first.at >= 1.0


def test_a_missing_secret_is_said_and_nothing_is_sent(system: str, tmp_path: Path) -> None:
    def missing(self: SomeRig, name: str) -> None:
        raise EdgewrightError(f"there is no secret {name!r}", hint="set it")

    with opened(system, tmp_path, pace=QUICK, secret=missing) as rig:
        rig.add("lane-1")
        with pytest.raises(Refused, match="there is no secret") as caught:
            rig.step()
        assert caught.value.reason == "SecretMissing"
        assert rig.server.requests == []


def test_a_device_that_moves_to_another_server_is_brought_its_model_there(system: str, tmp_path: Path) -> None:
    with opened(system, tmp_path / "one") as old, opened(system, tmp_path / "two") as new:
        old.add("lane-1")
        work(old)
        old.behave("lane-1", Behaviour.STALLS)
        release = old.release(1)
        old.driver.assign(assignments(1, ["lane-1"], release), old.configs())
        work(old)
        module = import_module(f"rigs.{system}")
        there = getattr(module, f"{system.partition('_')[0]}_delivery")(new.server.url)
        new.add("lane-1")
        old.grounds.delivery = there
        old.grounds.declare("lane-1")
        old.password = new.password

        for _ in range(40):
            old.pushing.step()
            new.devices["lane-1"].step()

        assert new.runs("lane-1") == release.release
        assert model_of(old, "lane-1").phase is Phase.VERIFIED


def test_many_devices_take_few_requests(system: str, tmp_path: Path) -> None:
    names = [f"lane-{number}" for number in range(230)]
    with opened(system, tmp_path) as rig:
        rig.grounds.declare(*names)
        if isinstance(rig, MenderServerRig):
            for name in names:
                rig.server.accept(name)
        step = rig.pushing.step
        step()
        assert len(rig.server.requests) <= 10
        rig.driver.assign(assignments(1, names, rig.release(1)), rig.configs())
        rig.server.requests.clear()
        step()
        assert len(rig.server.requests) <= 20
        path = "assignedTargets" if isinstance(rig, HawkbitRig) else "v1/deployments/deployments"
        assert len(rig.server.asked("POST", path)) == (3 if isinstance(rig, HawkbitRig) else 1)
        rig.server.requests.clear()
        assert not step(), "nothing is to be done until devices say something"
        assert len(rig.server.requests) <= 5
        assert {twin.job.stage.value for twin in rig.grounds.twins.twins() if twin.job} == {"offered"}


def test_what_cannot_be_signed_now_waits_until_it_can(rig: SomeRig) -> None:
    rig.add("lane-1")
    work(rig)
    rig.bundler.key = ""
    release = rig.release(1)
    rig.driver.assign(assignments(1, ["lane-1"], release), rig.configs())
    with pytest.raises(DeliveryError, match="no key"):
        work(rig)
    assert model_of(rig, "lane-1").phase is Phase.IDLE
    rig.bundler.key = "key 1"
    work(rig)
    assert rig.runs("lane-1") == release.release


def test_bundles_of_another_key_are_not_taken_for_the_same(rig: SomeRig) -> None:
    rig.add("lane-1", "lane-2")
    work(rig)
    release = rig.release(1)
    rig.driver.assign(assignments(1, ["lane-1"], release), rig.configs())
    work(rig)
    rig.bundler.key = "key 2"
    rig.driver.assign(assignments(1, ["lane-2"], release), rig.configs())
    work(rig)
    assert len(set(rig.bundler.built)) == 2
    assert rig.runs("lane-1") == rig.runs("lane-2") == release.release


def test_time_passes_only_by_the_clock_that_is_given(rig: SomeRig) -> None:
    rig.add("lane-1")
    rig.ahead = timedelta(days=3)
    work(rig)
    seen = twin_of(rig, "lane-1").last_seen
    assert seen is not None
    assert abs(rig.grounds.now() - seen) < timedelta(minutes=1), "it was seen when the server says"
