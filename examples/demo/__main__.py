"""Six stories, from a commit to a verified fleet: twelve devices, each a process of its own, and no network.

Every claim is checked from outside; the demo ends with a table and fails when any of it did not happen.
"""

import sys
import tempfile
from pathlib import Path

from examples.demo.bench import Ran, wait_for
from examples.demo.lab import Lab
from examples.demo.telling import Telling, console

MODEL = "specs/model.yaml"
ABSENT = "lane-09"


class Demo:
    """The stories, in order; each builds on the one before."""

    def __init__(self, lab: Lab, telling: Telling) -> None:
        self.lab = lab
        self.begin, self.claim, self.show = telling.begin, telling.claim, telling.show

    def apply(self) -> Ran:
        """Show the plan, then carry it out."""
        self.show(self.lab.edgewright("plan").stdout)
        done = self.lab.edgewright("apply", "--yes", "--timeout", "5m", show=True)
        self.show(done.stdout)
        return done

    def actions(self) -> list[str]:
        """List what the next apply would do."""
        return [step["action"] for step in self.lab.edgewright("plan", "-o", "json").json()["steps"]]

    # ── the stories ───────────────────────────────────────────────────────────────────────────────────────────

    def first_rollout(self) -> str:
        """From nothing to a verified fleet."""
        self.begin("1 From a commit to a verified fleet")
        done = self.apply()
        rollout = self.lab.rollout()
        verified = rollout["counts"]["verified"]
        waves = sorted({device["wave"] for device in rollout["devices"]})
        self.claim("every device proves the model", f"{verified}/12 verified in {len(waves)} waves", verified == 12)
        self.claim("apply ends well", f"exit code {done.code} after {done.seconds:.0f} s", done.code == 0)
        return str(rollout["package"])

    def nothing_to_do(self) -> None:
        """Reality matches."""
        self.begin("2 Plan again")
        again = self.lab.edgewright("plan", "--detailed-exitcode")
        self.show(again.stdout)
        seen = f"exit code {again.code} in {again.seconds:.2f} s"
        self.claim("nothing to do", seen, again.code == 0 and "Nothing to do" in again.stdout)

    def improvement(self, first: str) -> str:
        """A better model, while one device is switched off."""
        self.begin(f"3 A commit improves the model; meanwhile {ABSENT} is switched off")
        self.lab.stop(ABSENT)
        self.lab.edit(MODEL, "epochs: 8", "epochs: 12")
        self.lab.commit("Train longer")
        planned = self.actions()
        kept = "build-dataset" not in planned and "train" in planned
        self.claim("only what depends on it is redone", ", ".join(dict.fromkeys(planned)), kept)
        self.apply()
        rollout = self.lab.rollout()
        counts = rollout["counts"]
        seen = f"{counts['verified']} verified, {counts['deferred']} deferred"
        self.claim("the absent device holds nobody up", seen, counts["verified"] == 11 and counts["deferred"] == 1)
        self.claim("the fleet runs something new", rollout["package"][7:19], rollout["package"] != first)
        return str(rollout["package"])

    def failed_gate(self, good: str) -> None:
        """A model that is not good enough."""
        self.begin("4 A commit whose model fails a gate")
        self.lab.edit(MODEL, "epochs: 12", "epochs: 1")
        self.lab.commit("Train less")
        before = self.lab.running()
        done = self.apply()
        remaining = self.lab.edgewright("plan", "-o", "json").json()
        failed = [g for note in remaining["notes"] for g in note["gates"] if g["passed"] is False]
        figure = f"{failed[0]['gate']}: {failed[0]['value']:.3f}" if failed else "no gate failed"
        self.claim("stopped by the gate, with figures", figure, done.code == 3 and bool(failed))
        self.claim("before any device", "every device runs what it ran", self.lab.running() == before)
        package = self.lab.rollout()["package"]
        self.claim("the rollout did not move", package[7:19], package == good)

    def refused_by_a_device(self, good: str) -> None:
        """A model that one class of devices computes differently."""
        self.begin("5 A package that one class of devices computes differently")
        self.lab.edit(MODEL, "epochs: 1", "epochs: 12")
        self.lab.edit(MODEL, "activation: relu", "activation: silu")
        self.lab.commit("Use SiLU")
        done = self.apply()
        rollout = self.lab.rollout()
        rejected = rollout["rejected"][-1] if rollout["rejected"] else {"reason": "nothing", "device": "nobody"}
        classes = {device["id"]: device["class"] for device in self.lab.devices}
        said = next((d["reason"] for d in rollout["devices"] if d["device"] == rejected["device"]), "nothing")
        culprit = f"{said} on {rejected['device']} ({classes.get(rejected['device'], '?')})"
        refused = said == "ProbeMismatch" and classes.get(rejected["device"]) == "npu-camera"
        self.claim("the device's golden samples refuse it", culprit, refused)
        back = [d for d, package in self.lab.running().items() if package == good and d != ABSENT]
        self.claim("devices return to the last verified package", f"{len(back)}/11 run it", len(back) == 11)
        again = self.lab.edgewright("plan", "-o", "json").json()
        remembered = any(note["reason"] == "ReleaseRejected" for note in again["notes"]) and not again["steps"]
        seen = f"apply exited {done.code}; a new plan has {len(again['steps'])} steps"
        self.claim("the rejected release is not tried again", seen, remembered and done.code == 3)

    def catch_up(self, good: str) -> None:
        """The absent device comes back."""
        self.begin(f"6 {ABSENT} is switched on again")
        before = self.lab.running()[ABSENT]
        self.lab.start(ABSENT)
        there = wait_for(f"{ABSENT} to catch up", lambda: self.lab.running()[ABSENT] == good)
        seen = f"{str(before)[7:19]} → {str(self.lab.running()[ABSENT])[7:19]}"
        self.claim("it catches up by itself, through the same probe", seen, there and before != good)
        self.lab.edgewright("apply", "--yes", "--timeout", "1m")
        fleet = [package for package in self.lab.running().values() if package == good]
        self.claim("the whole fleet runs the same package", f"{len(fleet)}/12", len(fleet) == 12)

    def tell(self) -> None:
        """Tell all stories."""
        first = self.first_rollout()
        self.nothing_to_do()
        good = self.improvement(first)
        self.failed_gate(good)
        self.refused_by_a_device(good)
        self.catch_up(good)


def main() -> int:
    """Run the demo; 0 when every claim held."""
    telling = Telling()
    with tempfile.TemporaryDirectory(prefix="edgewright-demo-") as folder:
        lab = Lab(Path(folder))
        demo = Demo(lab, telling)
        try:
            lab.prepare()
            console.print(f"A spec repository and twelve devices in {folder}")
            lab.start_all()
            demo.tell()
        finally:
            lab.stop_all()
    return telling.summary()


if __name__ == "__main__":
    sys.exit(main())
