"""Stories of one rollout over four update systems: ``python -m examples.demo.mixed``, or ``make demo-mixed``.

Eight devices come with what they were shipped with: our agent, an sshd, SWUpdate, Mender's client. One commit moves all
of them, wave by wave. Every claim is checked from outside, on the devices' disks; the demo ends with a table, and fails
when any of it did not happen.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from examples.demo.bench import wait_for
from examples.demo.devices import AgentDevice, Device, MenderDevice, SshDevice, SwupdateDevice
from examples.demo.mixed_lab import LONGEST, MixedLab, missing
from examples.demo.telling import Telling, console
from examples.demo.witnesses import Application, Change, Witness

SPEC = "specs/rollout.yaml"
CANARIES = {"agent": "shelf-1", "ssh": "pi-1", "ddi": "gateway-1", "mender": "handheld-1"}
"""One device of each system that can show what it computes; together they are the first wave."""
WORDS = {
    "agent": "edgewright-agent, which fetches over HTTPS",
    "ssh": "a device that is pushed to over SSH",
    "ddi": "SWUpdate, which asks as if we were hawkBit",
    "mender": "Mender's client, which asks as if we were its server",
}
PLAIN = "sign-1"
ABSENT = "gateway-2"
RIGHT = 0.8
"""Share of right answers that applications have to get; as in the thresholds."""


class Demo:
    """The stories, in order; each builds on the one before."""

    def __init__(self, lab: MixedLab, telling: Telling, broken: Sequence[str]) -> None:
        self.lab = lab
        self._broken = broken
        self.begin, self.claim, self.show = telling.begin, telling.claim, telling.show
        self.witness: Witness | None = None
        self.applications: dict[str, Application] = {}
        self._alert = 20
        """In hundredths: what the specs say that every device's configuration says."""

    # ── what stories are made of ──────────────────────────────────────────────────────────────────────────────

    def commit(self, message: str) -> float:
        """Change what every device's configuration says; returns when that was."""
        before, self._alert = self._alert, self._alert + 1
        self.lab.edit(SPEC, f"alertBelow: {before / 100:.2f}", f"alertBelow: {self._alert / 100:.2f}")
        at = time.monotonic()
        console.print(f"  commit {self.lab.commit(message)}: {message}", markup=False)
        return at

    def wait_succeeded(self, before: str | None) -> Any:
        """Wait until a rollout other than the one before has succeeded, with what comes right after that."""
        return self.lab.wait_rollout(
            "a rollout that succeeds",
            lambda rollout: rollout["release"] != before and rollout["phase"] == "succeeded",
        )

    def status(self) -> None:
        """Show the one table."""
        self.show(self.lab.edgewright("status", "--devices").stdout)

    def everywhere(self, rollout: Any, *, but: tuple[str, ...] = ()) -> None:
        """Claim that all devices have shown what they can, that their disks agree, and applications too."""
        standings = self.lab.standings()
        shown = Counter(row["shown"] or "nothing" for name, row in standings.items() if name not in but)
        expected = Counter(verified=len(standings) - len(but) - 1, installed=1)
        said = [name for name, row in standings.items() if row["state"] == row["shown"] and name not in but]
        seen = " and ".join(f"{count} {what}" for what, count in sorted(shown.items(), reverse=True))
        self.claim("every device shows what it can", seen, shown == expected and len(said) == len(standings) - len(but))
        found = self.lab.running()
        alike = [
            name
            for name, running in found.items()
            if running is not None and running.is_whole and running.release == rollout["release"]
            if running.alert_below == self._alert / 100
        ]
        right = len(alike) == len(found) - len(but) and not set(but) & set(alike)
        self.claim("the devices' own disks agree", f"{len(alike)} run it", right)
        self.answers(rollout["release"])

    def answers(self, release: str) -> None:
        """Claim that the applications of one device of each kind go on, with this release."""
        right = min(application.right() for application in self.applications.values())
        same = [name for name, application in self.applications.items() if application.release() == release]
        seen = f"{right:.0%} right on {', '.join(same)}"
        self.claim("applications there get their answers from it", seen, right >= RIGHT and len(same) == len(CANARIES))

    # ── the stories ───────────────────────────────────────────────────────────────────────────────────────────

    def let_in(self) -> None:
        """Devices become known, each in the way of its system."""
        self.begin("0 Eight devices are let in")
        lab = self.lab
        for device in [*lab.of(SshDevice), *lab.of(SwupdateDevice), *lab.of(MenderDevice)]:
            device.start()
        lab.start_controller()
        asking = lab.asking()
        for device in asking:
            if isinstance(device, AgentDevice):
                device.ask()
        let_in = lab.let_in()
        seen = ", ".join(sorted(let_in))
        self.claim("keys that ask are those that the devices show", seen, len(let_in) == len(asking))
        for agent in lab.of(AgentDevice):
            agent.start()

    def first_rollout(self) -> None:
        """From nothing to eight devices."""
        self.begin("1 One commit, one rollout, four update systems")
        at = time.monotonic()
        rollout = self.wait_succeeded(None)
        self.status()
        self.applications = {
            name: Application(self.lab.devices[name], self.lab.repo / "data/shelf-stock.csv")
            for name in CANARIES.values()
            if self.lab.devices[name].runs() is not None
        }
        self.everywhere(rollout)
        self.wave_by_wave(rollout, at)

    def wave_by_wave(self, rollout: Any, at: float) -> None:
        """Claim that no device of a wave changed before all of the wave before had."""
        changes = self.changes(at)
        waves: dict[int, list[float]] = {}
        for device in rollout["devices"]:
            waves.setdefault(device["wave"], []).extend(change.at for change in changes.get(device["device"], []))
        times = [waves[number] for number in sorted(waves)]
        ordered = all(all(before) and max(before) < min(after) for before, after in pairwise(times))
        seen = ", then ".join(str(len(its)) for its in times) + " devices"
        self.claim("one wave after the other", seen, ordered and all(times) and len(times) == 3)

    def changes(self, at: float) -> dict[str, list[Change]]:
        """What the witness saw change since then."""
        assert self.witness is not None
        return self.witness.since(at)

    def what_counts(self, planned: str, steps: list[dict[str, Any]]) -> None:
        """A class where nothing of ours runs is told apart."""
        self.begin(f"2 {PLAIN} has no runtime that could prove anything, and nobody claims that it did")
        waves = next(step["waves"] for step in steps if step["action"] == "start-rollout")
        self.show("\n".join(line for line in planned.splitlines() if " wave " in line))
        systems = [" + ".join(f"{count} {name}" for name, count in wave["systems"].items()) for wave in waves]
        self.claim("the plan says which systems each wave goes by", "; ".join(systems), len(systems) == 3)
        unproved = sum(wave["unproved"] for wave in waves)
        text = "(1 shows installation only)"
        self.claim("and who can only show installation", text, unproved == 1 and text in planned)
        row = self.lab.standings()[PLAIN]
        seen = f"{row['proof']}, {row['state']}, shown: {row['shown']}"
        told = {row["proof"], row["state"], row["shown"]} == {"installed"}
        self.claim("status says the same of it", seen, told)

    def broken(self, number: int, system: str, *, absent: str | None = None) -> None:
        """A canary's accelerator breaks, silently."""
        device, release = self.lab.devices[CANARIES[system]], str(self.lab.rollout()["release"])
        self.begin(f"{number} {device.id}'s accelerator breaks: {WORDS[system]}")
        if absent is not None:
            console.print(f"  and {absent} is switched off")
            self.lab.devices[absent].stop()
        device.break_down()
        at = self.commit("Alert earlier")
        rollout = self.lab.wait_rollout(
            "a rollout that is taken back",
            lambda found: found["release"] != release and found["phase"] in {"failed", "succeeded"},
        )
        self.status()
        self.taken_back(device, rollout, release, at)
        device.mend()
        self.mended(device, str(rollout["release"]), absent)

    def taken_back(self, device: Device, rollout: Any, release: str, at: float) -> None:
        """Claim that the wave stopped, whose fault it was, and that everything is as it was."""
        standings = self.lab.standings()
        row = standings[device.id]
        rejected = rollout["rejected"][-1] if rollout["rejected"] else {"device": None}
        named = rejected["device"] == device.id and row["reason"].startswith("ProbeMismatch")
        self.claim("its golden samples refuse the release", f"{device.id}: {row['reason']}", named)
        changes = self.changes(at)
        touched = ", ".join(sorted(changes)) or "no device"
        stopped = rollout["phase"] == "failed" and changes.keys() <= set(CANARIES.values()) - {device.id}
        self.claim("the wave stops, and goes nowhere else", f"{touched} had switched", stopped)
        running = self.lab.running()
        back = [name for name, its in running.items() if its is not None and its.is_whole and its.release == release]
        proved = [name for name in CANARIES.values() if standings[name]["shown"] == "verified"]
        returned = len(back) == len(running) and len(proved) == len(CANARIES)
        seen = f"{len(back)} run it, {len(proved)} canaries verified it again"
        self.claim("what ran before runs again", seen, returned)
        self.answers(release)

    def mended(self, device: Device, refused: str, absent: str | None) -> None:
        """The next commit goes through."""
        console.print(f"  {device.id} is mended", markup=False)
        self.commit("Alert a little earlier")
        rollout = self.wait_succeeded(refused)
        self.everywhere(rollout, but=(absent,) if absent is not None else ())

    def away(self, number: int) -> None:
        """A device that was away comes back."""
        self.begin(f"{number} {ABSENT} was switched off meanwhile, and comes back")
        self.status()
        rollout, row = self.lab.rollout(), self.lab.standings()[ABSENT]
        counts = rollout["counts"]
        seen = f"{counts['verified']} verified, {counts['installed']} installed, {counts['deferred']} deferred"
        held = (row["state"], rollout["phase"], counts["deferred"]) == ("deferred", "succeeded", 1)
        self.claim("it held nobody up, and counts for nothing", seen, held)
        at = time.monotonic()
        device = self.lab.devices[ABSENT]
        device.start()
        wait_for("the device to change", lambda: getattr(device.runs(), "release", None) == rollout["release"], LONGEST)
        self.lab.wait_rollout(
            "the device to catch up", lambda found: found["counts"]["verified"] == len(self.lab.devices) - 1
        )
        came = [change.running.release for change in self.changes(at).get(ABSENT, [])]
        said = self.lab.standings()[ABSENT]
        alone = came == [rollout["release"]] and said["state"] == "verified"
        self.claim("it catches up with the newest alone", f"{len(came)} change, {said['state']}", alone)

    def killed(self, number: int) -> None:
        """The controller is killed in the middle of a wave."""
        self.begin(f"{number} The controller is killed in the middle of a wave")
        lab, release = self.lab, str(self.lab.rollout()["release"])
        second = {device["device"] for device in lab.rollout()["devices"] if device["wave"] == 2}
        at = self.commit("Alert earlier still")
        wait_for("the second wave", lambda: bool(self.changes(at).keys() & second), LONGEST)
        assert lab.controller is not None
        lab.controller.kill()
        switched = self.changes(at).keys() & second
        left = lab.rollout()
        unproved = [each["device"] for each in left["devices"] if each["wave"] == 2 and each["state"] != "verified"]
        seen = f"{len(switched)} of {len(second)} had switched, {len(unproved)} had not shown it"
        self.claim("kill -9 while the second wave is under way", seen, left["phase"] == "rolling" and bool(unproved))
        lab.start_controller()
        rollout = self.wait_succeeded(release)
        self.status()
        self.everywhere(rollout)
        changes = self.changes(at)
        times = Counter(len(its) for its in changes.values())
        once = times == {1: len(lab.devices)}
        seen = ", ".join(f"{devices} devices changed {often}×" for often, devices in sorted(times.items()))
        self.claim("nothing was deployed twice", seen, once)
        plan = lab.edgewright("plan", "--detailed-exitcode")
        self.claim("and nothing is left to do", plan.stdout.splitlines()[0], plan.code == 0)

    def tell(self) -> None:
        """Tell all stories."""
        planned = self.lab.edgewright("plan")
        steps = self.lab.edgewright("plan", "-o", "json").json()["steps"]
        self.show(planned.stdout)
        self.let_in()
        self.witness = Witness(self.lab.devices)
        self.witness.start()
        self.first_rollout()
        self.what_counts(planned.stdout, steps)
        for number, system in enumerate(CANARIES, 3):
            if system in self._broken:
                # The last of them goes without one device, which is the next story.
                self.broken(number, system, absent=ABSENT if system == self._broken[-1] else None)
        self.away(7)
        self.killed(8)
        self.witness.end()


def main() -> int:
    """Run the demo; 0 when every claim held, 2 where this machine cannot."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo.mixed", description=__doc__)
    parser.add_argument("--broken", nargs="+", choices=list(CANARIES), default=list(CANARIES), help="kinds to break")
    asked = parser.parse_args().broken
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that it leaves nothing behind
    if lacking := missing():
        console.print("This demo runs real SWUpdate, Mender and SSH devices, and needs a little more of this machine:")
        for each in lacking:
            console.print(f"  ✗ {each}", markup=False)
        console.print("On Debian or Ubuntu, as root: tests/install-clients")
        return 2
    telling = Telling()
    with tempfile.TemporaryDirectory(prefix="edgewright-") as folder:
        lab = MixedLab(Path(folder))
        try:
            console.print(f"A spec repository and eight devices in {folder}")
            lab.prepare()
            Demo(lab, telling, [system for system in CANARIES if system in asked]).tell()
        finally:
            lab.stop_all()
    return telling.summary()


if __name__ == "__main__":
    sys.exit(main())
