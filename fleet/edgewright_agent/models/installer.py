"""Installing models on a device that another system updates: over SSH, with SWUpdate, RAUC or Mender. Called by
``commands.install``, once for each order that system gives; no agent runs there.

The order is the agent's own, with its slots, prober and memory: stage into the idle slot → probe there → switch →
verify where it is active. What fails makes way for what was active before. A process that is killed anywhere leaves the
old or the new model active, and the same order, given again, finishes.
"""

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Protocol

from edgewright_agent.decide import DeviceView, ModelView, Reject, Remove, Stage, Switch, Verify, advance, garbage
from edgewright_agent.durable import Disk
from edgewright_agent.errors import LocalError, Transient, Untrusted, local_error
from edgewright_agent.models.actions import ActionRunner, ManifestReader, StateStore
from edgewright_agent.models.observer import Observer, model_view
from edgewright_agent.models.payload import NoPayload, Payload
from edgewright_agent.models.slots import ModelSlots
from edgewright_agent.models.state import ModelState, StateFile
from edgewright_agent.probing.prober import Prober
from edgewright_agent.reports import model_reports
from edgewright_agent.repository.blobs import Blobs
from edgewright_agent.repository.transport import RepositoryReader
from edgewright_wire.messages import Assignment, ModelAssignment, ModelReport, Phase
from edgewright_wire.slots import Slot

log = logging.getLogger(__name__)

STATE_FILE = "installer.json"
BLOBS = "blobs"
SELF = "installer"
"""Stands for the device in the assignment that the installer writes for itself."""
_VERSION = 1
"""Of that assignment; never grows, because a new order forgets a failure by itself."""


class PackageSource(ManifestReader, RepositoryReader, Protocol):
    """Source of packages and blobs."""


class Installer:
    """One device's models. One process at a time may give orders.

    Args:
        directory: Where the installer keeps everything.
        disk: Every durable write.
        prober: Runs golden samples.
        now: The wall clock, aware.
        stopped: Whether to end; long work looks at it.

    Raises:
        LocalError: The disk refuses.
    """

    def __init__(
        self,
        directory: Path,
        disk: Disk,
        prober: Prober,
        now: Callable[[], datetime],
        stopped: Callable[[], bool] = lambda: False,
    ) -> None:
        self._directory = directory
        self._disk = disk
        self._prober = prober
        self._now = now
        self._stopped = stopped
        self._memory = StateStore(StateFile(directory / STATE_FILE, disk))
        self._blobs = Blobs(directory / BLOBS, disk)
        self._observer = Observer(directory, self._blobs, disk)

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────

    def install(self, target: ModelAssignment, payload: Path) -> ModelReport:
        """Install what a payload brings.

        Returns:
            What is so now. Phase ``failed`` says that it was refused, and why; else it is verified.
        """
        try:
            self._blobs.clean_up()
            self._settle(target)
            self._begin(target, self._model(target.model).running)
            return self._bring(self._hands(Payload(payload, target)), target)
        except Transient as error:
            return self._refused(target, error)

    def rollback(self, model: str) -> ModelReport:
        """Go back to what was active before the last install.

        Returns:
            As install. Where nothing was active before, it is refused and nothing changes.
        """
        target = self._kept(model).previous
        if target is None:
            message = f"nothing was active before the last install of {model}; uninstall takes it away"
            return _failed(self._report(model), "NothingBefore", message)
        try:
            self._begin(target, target)
            return self._bring(self._hands(NoPayload()), target)
        except Transient as error:
            return self._refused(target, error)

    def uninstall(self, model: str) -> ModelReport:
        """Take a model away.

        Returns:
            Phase ``idle``; or ``failed`` when the disk refuses: the same order, given again, goes on.
        """
        try:
            self._accept(tuple(kept for kept in self._accepted() if kept.model != model))
            self._hands(NoPayload()).perform(Remove(model), self._observe())
        except Transient as error:
            return _failed(self._report(model), error.reason, error.message)
        self._clean()
        return self._report(model)

    def installed(self) -> tuple[ModelReport, ...]:
        """Report every model's state on the disk and its last proof; run nothing.

        Raises:
            LocalError: The disk cannot be looked at.
        """
        view = self._observe()
        targets = {target.model: target for target in self._accepted()}
        for name, model in view.models.items():
            if model.running is not None:
                targets.setdefault(name, model.running)
        whole = Assignment(device=SELF, version=_VERSION, models=tuple(targets[name] for name in sorted(targets)))
        reports = model_reports(dataclasses.replace(view, accepted=whole), self._memory.state, {}, self._now())
        return tuple(map(_honest, reports))

    def prove(self) -> tuple[ModelReport, ...]:
        """Run the golden samples of all active models again, and report.

        A failure is told and changes nothing: what serves goes on serving.

        Raises:
            LocalError: The disk refuses, or no probe can be started.
        """
        return tuple(self._prove(report) if report.active is not None else report for report in self.installed())

    def _prove(self, report: ModelReport) -> ModelReport:
        outcome = self._prober.verify(self._directory, report.model)
        if not outcome.passed:
            failed = _failed(report, outcome.reason, outcome.message)
            return failed.model_copy(update={"verified": None, "probe": outcome.result()})
        kept, running = self._kept(report.model), self._model(report.model).running
        failure = None if kept.failure is not None and kept.failure.target == running else kept.failure
        proved = {"verified": running, "probe": outcome.result(), "failure": failure}
        self._memory.save_model(kept.model_copy(update=proved))
        return self._report(report.model)

    # ── the steps of an order ─────────────────────────────────────────────────────────────────────────────────

    def _settle(self, target: ModelAssignment) -> None:
        """Prove first what an order that was cut short left active: staging overwrites what it would make way for."""
        model = self._model(target.model)
        if model.running is None or model.running in {target, model.verified}:
            return
        way_back = _way_back(model, self._kept(target.model), model.running)
        self._hands(NoPayload()).perform(Verify(model.running), self._observe())
        if way_back is not None and self._kept(target.model).verified != model.running:
            self._go_back(target.model, way_back)

    def _begin(self, target: ModelAssignment, before: ModelAssignment | None) -> None:
        """Write down what is wanted, and what to go back to."""
        kept = self._kept(target.model)
        previous = kept.previous if before in {None, target} else before
        phase = kept.phase if self._model(target.model).running == target else Phase.IDLE
        self._accept(
            (*(other for other in self._accepted() if other.model != target.model), target),
            kept.model_copy(update={"failure": None, "previous": previous, "phase": phase}),
        )

    def _bring(self, hands: ActionRunner, target: ModelAssignment) -> ModelReport:
        way_back = _way_back(self._model(target.model), self._kept(target.model), target)
        try:
            self._discard_damaged(target)
            for _ in self._until_active(hands, target, way_back):
                if self._stopped():
                    raise LocalError("Stopped", "the installer was stopped; give the order again")
            if self._model(target.model).running == target:
                hands.perform(Verify(target), self._observe())
        except Transient:
            with contextlib.suppress(LocalError):
                self._go_back(target.model, way_back)
            raise
        if self._kept(target.model).failure is not None:
            self._go_back(target.model, way_back)
        self._clean()
        return self._remember(self._report(target.model))

    def _until_active(self, hands: ActionRunner, target: ModelAssignment, way_back: Slot | None) -> Iterator[None]:
        """Take step after step until the target is active, or failed."""
        damaged = 0
        while self._model(target.model).running != target and self._kept(target.model).failure is None:
            view = self._observe()
            action = advance(view, self._model(target.model), target)
            if isinstance(action, Switch) and way_back is not None:
                self._slots(target.model).prepare_way_back(way_back)
            try:
                hands.perform(action, view)
            except Untrusted:
                # Staging discards a blob that changed on the disk; it is taken from the payload anew, each once.
                damaged += 1
                if not isinstance(action, Stage) or damaged > len(view.blobs):
                    raise
            yield

    def _go_back(self, model: str, way_back: Slot | None) -> None:
        slots = self._slots(model)
        if slots.active() is way_back:
            return
        if way_back is None:
            slots.deactivate()
            log.warning("%s: switched off; nothing was active here before", model)
        else:
            slots.switch(way_back)
            log.warning("%s: slot %s is active again", model, way_back)

    def _discard_damaged(self, target: ModelAssignment) -> None:
        """Discard a slot whose bytes changed, so that it is staged again."""
        slots = self._slots(target.model)
        for slot, held in self._model(target.model).slots.items():
            if held == target and (damaged := slots.damaged(slot)):
                log.warning("%s: %s changed on the disk; it is installed again", target.model, ", ".join(damaged))
                slots.discard(slot)

    def _refused(self, target: ModelAssignment, error: Transient) -> ModelReport:
        """Report a failure; keep it where the disk allows."""
        log.warning("%s: release %s refused: %s: %s", target.model, target.release, error.reason, error.message)
        model = self._model(target.model)
        with contextlib.suppress(LocalError):
            if not model.running == model.verified == target:
                self._hands(NoPayload()).perform(Reject(target, error.reason, error.message), self._observe())
            self._clean()
        report = self._remember(self._report(target.model))
        return _failed(report.model_copy(update={"release": target.release}), error.reason, error.message)

    # ── looking and remembering ───────────────────────────────────────────────────────────────────────────────

    def _report(self, model: str) -> ModelReport:
        return next(
            (report for report in self.installed() if report.model == model), ModelReport(model=model, phase=Phase.IDLE)
        )

    def _remember(self, report: ModelReport) -> ModelReport:
        """Keep since when the phase lasts."""
        with contextlib.suppress(LocalError):
            kept = self._kept(report.model)
            self._memory.save_model(kept.model_copy(update={"phase": report.phase, "since": report.since}))
        return report

    def _clean(self) -> None:
        with contextlib.suppress(LocalError):
            self._blobs.forget(garbage(self._observe()))

    def _accept(self, models: tuple[ModelAssignment, ...], changed: ModelState | None = None) -> None:
        state = self._memory.state if changed is None else self._memory.state.with_model(changed)
        wanted = Assignment(device=SELF, version=_VERSION, models=tuple(sorted(models, key=lambda each: each.model)))
        self._memory.save(state.model_copy(update={"accepted": wanted}))

    def _accepted(self) -> tuple[ModelAssignment, ...]:
        accepted = self._memory.state.accepted
        return accepted.models if accepted is not None else ()

    def _hands(self, source: PackageSource) -> ActionRunner:
        return ActionRunner(
            directory=self._directory,
            memory=self._memory,
            observer=self._observer,
            blobs=self._blobs,
            manifests=source,
            repository=source,
            prober=self._prober,
            stopped=self._stopped,
        )

    def _observe(self) -> DeviceView:
        try:
            return self._observer.view(SELF, self._memory.state)
        except OSError as error:
            raise local_error(error, "looking at the device's models") from error

    def _slots(self, model: str) -> ModelSlots:
        return self._observer.slots(model)

    def _model(self, model: str) -> ModelView:
        return model_view(self._slots(model), self._kept(model))

    def _kept(self, model: str) -> ModelState:
        return self._memory.state.model(model)


def _way_back(model: ModelView, kept: ModelState, target: ModelAssignment) -> Slot | None:
    """Find the slot to go back to should the target fail: the active one, or, where an order that was cut short has
    switched to the target already, the one that was active before it; None where none was.
    """
    if model.running != target or model.verified == target:
        return model.active
    before = model.holds(model.idle)
    return model.idle if before is not None and before in {kept.verified, kept.previous} else None


def _failed(report: ModelReport, reason: str, message: str) -> ModelReport:
    return report.model_copy(update={"phase": Phase.FAILED, "reason": reason, "message": message[:2000]})


def _honest(report: ModelReport) -> ModelReport:
    """Clear ``verified`` of an active model whose samples failed, whatever it was before."""
    probed = report.probe is not None and not report.probe.passed
    if report.phase is Phase.FAILED and report.release == report.active_release and probed:
        return report.model_copy(update={"verified": None})
    return report
