"""Performing one action on the device, and remembering what came of it. Called by ``agent`` and ``installer``.

An action either leaves the device where the next observation goes on, or raises; each may be repeated harmlessly.
"""

import logging
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Protocol, assert_never

from edgewright_agent.decide import (
    Clean,
    Deactivate,
    DeviceView,
    Fetch,
    FetchManifest,
    Probe,
    Reject,
    Remove,
    Stage,
    Switch,
    Verify,
)
from edgewright_agent.errors import LocalError, local_error
from edgewright_agent.models.observer import Observer
from edgewright_agent.models.state import DeviceState, FailureState, ModelState, StateFile
from edgewright_agent.probing.outcomes import ProbeOutcome
from edgewright_agent.probing.prober import Prober
from edgewright_agent.repository.blobs import Blobs
from edgewright_agent.repository.transport import RepositoryReader
from edgewright_wire.messages import Assignment, ModelAssignment, ModelReport
from edgewright_wire.slots import Slot

log = logging.getLogger(__name__)

ModelAction = FetchManifest | Fetch | Stage | Probe | Switch | Verify | Reject | Deactivate | Remove


class StateStore:
    """The state, in memory and on the disk: both change together or not at all, but for what a report uses up.

    Raises:
        LocalError: The disk refuses; so do all methods that do not say otherwise.
    """

    def __init__(self, file: StateFile) -> None:
        self._file = file
        try:
            self.state: DeviceState = file.read()
        except OSError as error:
            raise local_error(error, "reading the agent's state") from error

    def save(self, state: DeviceState) -> None:
        """Replace it."""
        if state == self.state:
            return
        try:
            self._file.write(state)
        except OSError as error:
            raise local_error(error, "writing the agent's state") from error
        self.state = state

    def save_model(self, model: ModelState) -> None:
        """Replace what is remembered of one model."""
        self.save(self.state.with_model(model))

    def accept(self, assignment: Assignment) -> None:
        """Take up an assignment."""
        self.save(self.state.model_copy(update={"accepted": assignment}))

    def belong_to(self, device: str) -> None:
        """Forget an assignment of another name: this disk is a copy of that device's, or the device has a new name."""
        accepted = self.state.accepted
        if accepted is not None and accepted.device != device:
            log.warning("this device is %s now; assignment %d was for %s", device, accepted.version, accepted.device)
            self.save(self.state.model_copy(update={"accepted": None}))

    def about_to_send(self, sequence: int, reports: tuple[ModelReport, ...]) -> None:
        """Use up a sequence, and keep since when each phase lasts.

        A full disk is told of in this very report, so it hinders nothing: sequences go on by the clock after a restart.
        """
        state = self.state.model_copy(update={"sequence": sequence})
        for report in reports:
            kept = state.model(report.model).model_copy(update={"phase": report.phase, "since": report.since})
            state = state.with_model(kept)
        try:
            self.save(state)
        except LocalError as error:
            log.warning("%s", error.message)
            self.state = state


class ManifestReader(Protocol):
    """Reads verified manifests."""

    def manifest(self, digest: str) -> bytes:
        """Read a package's manifest, the very one that was asked for.

        Raises:
            Transient: It is not there, or not to be believed.
        """
        ...


class ActionRunner:
    """Performs actions on models and blobs."""

    def __init__(
        self,
        *,
        directory: Path,
        memory: StateStore,
        observer: Observer,
        blobs: Blobs,
        manifests: ManifestReader,
        repository: RepositoryReader,
        prober: Prober,
        stopped: Callable[[], bool],
    ) -> None:
        self._directory = directory
        self._memory = memory
        self._observer = observer
        self._blobs = blobs
        self._manifests = manifests
        self._repository = repository
        self._prober = prober
        self._stopped = stopped

    def perform(self, action: ModelAction | Clean, view: DeviceView) -> bool:
        """Do it.

        Returns:
            Whether it is done; False when only a part of it is.

        Raises:
            Transient: It may pass later.
        """
        match action:
            case FetchManifest():
                self._blobs.put(action.package.digest, self._manifests.manifest(action.package.digest))
            case Fetch():
                return self._blobs.fetch(action.blob, self._repository, self._stopped)
            case Stage(target, slot):
                self._forget_proofs(target)
                slots = self._observer.slots(target.model)
                slots.stage(slot, target, view.packages[target.package.digest], self._blobs)
            case Probe(target, slot):
                self._probe(target, slot)
            case Switch(target, slot):
                self._switch(target, slot)
            case Verify(target):
                self._verify(target)
            case Reject(target, reason, message):
                self._fail(target, reason, message, None)
            case Deactivate(model):
                self._observer.slots(model).deactivate()
                log.warning("%s: switched off; it failed, and nothing was ever verified here", model)
            case Remove(model):
                self._observer.slots(model).remove()
                self._memory.save(self._memory.state.without_model(model))
                log.info("%s: removed, it is not assigned any more", model)
            case Clean(digests):
                self._blobs.forget(digests)
            case _:
                assert_never(action)
        return True

    def _forget_proofs(self, target: ModelAssignment) -> None:
        """A new copy has to pass for itself, even one of what passed here before."""
        kept = self._memory.state.model(target.model)
        verified = None if kept.verified == target else kept.verified
        self._memory.save_model(kept.model_copy(update={"probed": None, "verified": verified}))

    def _probe(self, target: ModelAssignment, slot: Slot) -> None:
        outcome = self._prober.probe(self._observer.slots(target.model).path(slot))
        if not outcome.passed:
            self._fail(target, outcome.reason, outcome.message, outcome)
            return
        kept = self._memory.state.model(target.model)
        self._memory.save_model(kept.model_copy(update={"probed": target, "probe": outcome.result()}))

    def _switch(self, target: ModelAssignment, slot: Slot) -> None:
        kept = self._memory.state.model(target.model)
        if kept.failure is not None and kept.failure.target == target:
            # It failed under an earlier assignment and passed now; what failed then must not send it back.
            self._memory.save_model(kept.model_copy(update={"failure": None}))
        self._observer.slots(target.model).switch(slot)
        log.info("%s: slot %s is active, release %s", target.model, slot, target.release)

    def _verify(self, target: ModelAssignment) -> None:
        outcome = self._prober.verify(self._directory, target.model)
        if not outcome.passed:
            self._fail(target, outcome.reason, f"after the switch: {outcome.message}", outcome)
            return
        kept = self._memory.state.model(target.model)
        self._memory.save_model(kept.model_copy(update={"verified": target, "probe": outcome.result()}))
        log.info("%s: verified, release %s", target.model, target.release)

    def _fail(self, target: ModelAssignment, reason: str, message: str, outcome: ProbeOutcome | None) -> None:
        state = self._memory.state
        result = outcome.result() if outcome is not None else None
        failure = FailureState(
            target=target,
            version=state.accepted.version if state.accepted is not None else 0,
            reason=reason,
            message=message,
            probe=result,
        )
        update = {"failure": failure, "probed": None, "probe": result}
        self._memory.save_model(state.model(target.model).model_copy(update=update))
        log.warning("%s: release %s refused: %s: %s", target.model, target.release, reason, message)


def next_sequence(last: int, now: datetime) -> int:
    """Number a report: above the last, and above those of an earlier life of the device whose state was lost."""
    return max(last + 1, int(now.timestamp()))
