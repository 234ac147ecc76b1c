"""One pass over one device: connect, look, do what is to be done, and tell the truth about it. Called by ``driver``.

Nothing that is known only here matters: what is to be done is in the store, what was done is on the device. So a pass
that ends anywhere, with its process or without, is simply made again: the next one finds out from the device.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial

from edgewright.core.fleet import twins
from edgewright.core.fleet.routes import Proof
from edgewright.core.fleet.twins import Job, ModelTwin, Stage, Twin
from edgewright.delivery.evidence import Contradiction, Refused, Verdict, Verified, judge, nonce_of, settle
from edgewright.delivery.pushed.ssh import inspection as looks
from edgewright.delivery.pushed.ssh import scripts
from edgewright.delivery.pushed.ssh.connecting import CommandResult, Dialer, Line
from edgewright.delivery.pushed.ssh.deadline import Deadline
from edgewright.delivery.pushed.ssh.errors import TimedOut, Trouble, Unfit
from edgewright.delivery.pushed.ssh.inspection import Inspection, Marker, SlotFile
from edgewright.delivery.pushed.ssh.missing_files import unneeded
from edgewright.delivery.pushed.ssh.targets import Target
from edgewright.delivery.pushed.ssh.twin_writes import TwinWrites
from edgewright.delivery.pushed.ssh.upload import bring, refusal
from edgewright.delivery.repository.depot import Depot, PayloadFile
from edgewright.errors import DeliveryError
from edgewright_schemas.delivery import Restart
from edgewright_wire.canonical import hex_of
from edgewright_wire.layout import PAYLOAD_ASSIGNMENT
from edgewright_wire.messages import ModelAssignment, ProbeResult

_MOST_JOBS = 50
"""In one pass; models of one device."""
_MOST_HANGS = 3
"""Passes in which a device may hang while it installs; then the job has failed."""
_HANGS = "hangs"
"""In a twin's memo: the job's number, and in how many passes it hung."""
_MARKER = "release.json"
Files = Sequence[PayloadFile]


class Session:
    """One pass.

    Args:
        place: The device.
        notes: Keeps the twins.
        depot: What is published.
        dialer: Opens connections.
        clock: Gives aware UTC times.
        cutoff: Ends it.
    """

    def __init__(
        self,
        place: Target,
        notes: TwinWrites,
        depot: Depot,
        dialer: Dialer,
        clock: Callable[[], datetime],
        cutoff: Deadline,
    ) -> None:
        self._place = place
        self._notes = notes
        self._depot = depot
        self._dialer = dialer
        self._clock = clock
        self._cutoff = cutoff
        self.sent = 0
        """Bytes that were sent to the device."""

    def make(self) -> None:
        """Make the pass; what is wrong with the device is in its twin.

        Raises:
            Trouble: The device could not be worked with.
            EdgewrightError: The engine's own store or files.
            Stopped: The controller is ending.
        """
        line = self._dialer.open(self._place, self._cutoff)
        try:
            seconds = self._place.timeout
            self._cutoff.limit(seconds, TimedOut(f"{self._place.hop} took longer than {seconds:g} s (timeout)"))
            self._work(line)
        except Unfit as trouble:
            # Nothing is to be done there now, and the device has been told why as often as it makes sense.
            raise Trouble(trouble.reason, trouble.message) from trouble
        finally:
            self._cutoff.close()
            line.close()

    def _work(self, line: Line) -> None:
        twin = self._change(lambda twin: _arrived(twin, self._clock()))
        for _ in range(_MOST_JOBS):
            expected = twin.job.number if twin.job is not None else None
            look = self._look(line, twin)
            twin = self._change(partial(self._found, look))
            if twin.job is not None and twin.job.number != expected:
                continue  # it was assigned meanwhile, and the look has made nothing ready for it
            if twin.job is not None:
                twin = self._do(line, look, twin.job)
            if twin.job is None:
                break
        if twin.reason:
            self._change(lambda twin: twins.seen(twin, self._clock()))

    # ── looking ───────────────────────────────────────────────────────────────────────────────────────────────

    def _look(self, line: Line, twin: Twin) -> Inspection:
        place = self._place
        verified = place.proof is Proof.VERIFIED
        brings = twin.job is not None and twin.job.target is not None and twin.job.stage is not Stage.CANCELLING
        answer = line.run(scripts.look(place.root, place.installer, proves=verified, make=brings))
        look = looks.read_look(answer.text)
        if look is None:
            raise self._give_up(twin.job, refusal(answer, "NotUnderstood"))
        if look.agent:
            words = f"{place.root} belongs to an agent: reach the device with delivery type agent, or name another root"
            raise self._give_up(twin.job, Unfit("AgentThere", words))
        if look.foreign and not verified:
            words = f"{place.hop.user} may not write {place.root}: make it theirs, or name another root"
            raise self._give_up(twin.job, Unfit("NotWritable", words))
        if verified and look.reports is None:
            raise self._give_up(twin.job, self._no_installer(look))
        changing = twin.job.model if twin.job is not None else None
        if any(each.active != each.verified and each.model != changing for each in look.reports or ()):
            # What serves was not shown to work, or that was forgotten: see now.
            reports, _ = looks.read_installed(line.run(scripts.prove(place.root, place.installer)).text)
            look = replace(look, reports=reports) if reports is not None else look
        return look

    def _no_installer(self, look: Inspection) -> Trouble:
        command = " ".join(self._place.installer)
        if look.asked in {126, 127}:
            return Unfit(
                "InstallerMissing",
                f"there is no {command} for {self._place.hop.user}: install edgewright-agent there, name it in "
                "spec.delivery.installer, or ask for less with proof: installed",
            )
        words = looks.words_of(look.text)
        return Unfit("InstallerFailed", f"'{command} installed' ended with {look.asked} and no evidence: {words}")

    def _give_up(self, job: Job | None, trouble: Trouble) -> Trouble:
        """Fail what cannot be done on this device."""
        if job is not None and isinstance(trouble, Unfit):
            self._change(lambda twin: _failed(twin, job.number, self._clock(), trouble))
        return trouble

    def _found(self, look: Inspection, twin: Twin) -> Twin:
        """Note what is there, and begin with what is to be done."""
        now, proof = self._clock(), self._place.proof
        there = looks.installed(look, proof, _known(twin))
        for name in sorted({each.model for each in twin.models} | there.keys()):
            # What is being changed is told when that is done.
            if twin.job is None or twin.job.model != name:
                twin = twins.found(twin, there.get(name, ModelTwin(name)), now)
        twin = twins.next_job(twin, now)
        while (job := twin.job) is not None and job.stage is Stage.WAITING and _is_done(job, there, proof):
            twin = twins.succeed(twin, job.number, now, proof, there.get(job.model, ModelTwin(job.model)).probe)
        if job is not None and job.stage is Stage.WAITING:
            twin = twins.move(twin, job.number, Stage.FETCHING, now)
        return twin

    # ── doing ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, line: Line, look: Inspection, job: Job) -> Twin:
        there = looks.installed(look, self._place.proof, [job.target] if job.target is not None else [])
        try:
            if _is_done(job, there, self._place.proof):
                return self._finish(line, look, job, there.get(job.model, ModelTwin(job.model)).probe)
            if job.stage is Stage.CANCELLING:
                return self._stopped(line, look, job)
            if job.target is None:
                return self._remove(line, look, job)
            return self._install(line, look, job, job.target)
        except (Unfit, scripts.Unusable) as error:
            trouble = error if isinstance(error, Unfit) else Unfit("InvalidPackage", str(error))
            return self._change(lambda twin: _failed(twin, job.number, self._clock(), trouble))
        except TimedOut as trouble:
            self._hung(job, trouble)
            raise

    def _finish(self, line: Line, look: Inspection, job: Job, probe: ProbeResult | None) -> Twin:
        """End a job that turns out to be done: a pass that switched may not have come to what follows."""
        restart = self._place.restart
        line.run(scripts.forget(look.store))
        if job.stage is Stage.INSTALLING and job.target is not None and restart is not None:
            return self._tell(line, look, job, restart, probe)
        return self._succeed(job, probe)

    def _install(self, line: Line, look: Inspection, job: Job, target: ModelAssignment) -> Twin:
        earlier = judge(job.model, target, self._nonce(job), look.text)
        if isinstance(earlier, Refused):
            return self._settle(job, succeeded=False, verdict=earlier)
        act = self._order if self._place.proof is Proof.VERIFIED else self._switch
        return act(line, look, job, target, self._depot.payload(target))

    def _order(self, line: Line, look: Inspection, job: Job, target: ModelAssignment, files: Files) -> Twin:
        """Have the installer switch, and prove."""
        place, nonce = self._place, self._nonce(job)
        bring(line, look, files, scripts.payload(job.number, _links(files)), self._sent)
        if (called_off := self._called_off(line, look, job)) is not None:
            return called_off
        gone = unneeded(look.blobs, [files]) if look.foreign else ()  # elsewhere the installer sees to that
        answer = line.run(scripts.install(place.root, look.store, place.installer, job.number, nonce, gone))
        self._cutoff.held = False
        verdict = self._verdict(job, answer)
        if isinstance(verdict, Verified) and place.restart is not None:
            return self._tell(line, look, job, place.restart, verdict.probe)
        return self._judged(job, answer, verdict)

    def _switch(self, line: Line, look: Inspection, job: Job, target: ModelAssignment, files: Files) -> Twin:
        """Switch without anybody's help, to what was verified by its digests."""
        place, active = self._place, look.active(job.model)
        name, before = look.idle(job.model), active.name if active is not None else ""
        kept = [file for file in files if file.name != PAYLOAD_ASSIGNMENT]
        if _MARKER in {file.name for file in files}:
            raise scripts.Unusable(f"{_MARKER!r} is a name that devices use themselves")
        listed = tuple(SlotFile(name=file.name, size=file.size) for file in kept)
        marker = Marker(assignment=target, files=listed).to_bytes().decode()
        stage = scripts.slot(place.root, look.store, job.model, name, _links(kept), marker)
        bring(line, look, kept, stage, self._sent)
        if (called_off := self._called_off(line, look, job)) is not None:
            return called_off
        gone = self._unneeded(look, job, kept)
        answer = line.run(scripts.switch(place.root, job.model, name, before, marker, place.restart, gone))
        self._cutoff.held = False
        if not looks.answered(answer.text, "switched"):
            raise refusal(answer, "InstallFailed")
        return self._settle(job, succeeded=True, verdict=None)

    def _tell(self, line: Line, look: Inspection, job: Job, restart: Restart, probe: ProbeResult | None) -> Twin:
        """Have the application told of what is active; where it falls over, what was active before comes back."""
        place, store = self._place, look.store
        self._cutoff.held = True
        answer = line.run(scripts.tell(restart))
        if looks.answered(answer.text, "told"):
            self._cutoff.held = False
            return self._succeed(job, probe)
        trouble = refusal(answer, "RestartFailed")
        before = self._had_before(job)
        if place.proof is Proof.VERIFIED:
            nonce = f"{self._nonce(job)}-undo"
            line.run(scripts.undo(place.root, store, place.installer, job.model, nonce, before, restart))
        else:
            line.run(scripts.switch_back(place.root, job.model, look.idle(job.model) if before else "", restart))
        self._cutoff.held = False
        return self._change(lambda twin: _failed(twin, job.number, self._clock(), trouble))

    def _remove(self, line: Line, look: Inspection, job: Job) -> Twin:
        place = self._place
        if (called_off := self._called_off(line, look, job)) is not None:
            return called_off
        if place.proof is Proof.INSTALLED:
            answer = line.run(scripts.remove(place.root, job.model))
            self._cutoff.held = False
            if not looks.answered(answer.text, "removed"):
                raise refusal(answer, "NotRemoved")
            return self._settle(job, succeeded=True, verdict=None)
        nonce = self._nonce(job)
        answer = line.run(scripts.uninstall(place.root, look.store, place.installer, job.model, nonce))
        self._cutoff.held = False
        return self._judged(job, answer, self._verdict(job, answer))

    def _verdict(self, job: Job, answer: CommandResult) -> Verdict | None:
        """Judge what the installer said.

        Raises:
            Trouble: It is at another order.
        """
        verdict = judge(job.model, job.target, self._nonce(job), answer.text)
        if verdict is None and looks.order_status(answer.text) == 1:
            words = looks.words_of(answer.text)
            raise Trouble("Busy", f"the device is still at an earlier order: {words}")
        active = looks.read_active(answer.text)
        if isinstance(verdict, Verified) and active is not None and active.get(job.model) != job.target:
            return Contradiction("the installer says that it is done, and on the device it is not")
        return verdict

    def _judged(self, job: Job, answer: CommandResult, verdict: Verdict | None) -> Twin:
        words = looks.words_of(answer.text) if verdict is None else ""
        return self._settle(job, succeeded=looks.order_status(answer.text) == 0, verdict=verdict, words=words)

    def _called_off(self, line: Line, look: Inspection, job: Job) -> Twin | None:
        """Look once more whether the job is still wanted, and note that the device is going to be changed.

        Returns:
            None: it is. Else the device, which has stopped.
        """
        twin = self._change(lambda twin: twins.move(twin, job.number, Stage.INSTALLING, self._clock()))
        now = twin.job
        if now is not None and now.number == job.number and now.stage is Stage.INSTALLING:
            self._cutoff.held = True
            return None
        return self._stopped(line, look, job)

    def _stopped(self, line: Line, look: Inspection, job: Job) -> Twin:
        twin = self._change(lambda twin: twins.stopped(twin, job.number, self._clock()))
        if twin.job is None:  # else what was brought may be of use to the next
            line.run(scripts.forget(look.store))
        return twin

    def _had_before(self, job: Job) -> bool:
        """Whether something was active before this job."""
        twin = self._notes.twin(self._place.device)
        return twin is not None and twin.model(job.model).installed is not None

    def _unneeded(self, look: Inspection, job: Job, files: Files) -> tuple[str, ...]:
        """Choose blobs that neither what will be active needs, nor what is to go back to."""
        kept = [files]
        for model, slots in look.slots.items():
            for each in slots:
                if each.active or model != job.model:
                    with suppress(DeliveryError):  # not published any more: its slot has the files, nobody brings them
                        kept.append(self._depot.payload(each.marker.assignment))
        return unneeded(look.blobs, kept)

    # ── noting ────────────────────────────────────────────────────────────────────────────────────────────────

    def _succeed(self, job: Job, probe: ProbeResult | None) -> Twin:
        proof = self._place.proof
        return self._change(lambda twin: twins.succeed(twin, job.number, self._clock(), proof, probe))

    def _settle(self, job: Job, *, succeeded: bool, verdict: Verdict | None, words: str = "") -> Twin:
        return self._change(
            lambda twin: settle(
                twin,
                job.number,
                self._clock(),
                wanted=self._place.proof,
                succeeded=succeeded,
                verdict=verdict,
                words=words,
            )
        )

    def _hung(self, job: Job, trouble: TimedOut) -> None:
        """Count passes in which a device hung while it installed."""

        def work(twin: Twin) -> Twin:
            if twin.job is None or twin.job.number != job.number or twin.job.stage is not Stage.INSTALLING:
                return twin
            number, before = twin.memo.get(_HANGS, (0, 0))
            hangs = before + 1 if number == job.number else 1
            if hangs < _MOST_HANGS:
                return replace(twin, memo={**twin.memo, _HANGS: [job.number, hangs]})
            message = f"{trouble.message}, while it installed, {hangs} times"
            return twins.bring_back(twin, job.number, self._clock(), trouble.reason, message)

        self._change(work)

    def _nonce(self, job: Job) -> str:
        return f"{nonce_of(job.model, job.target)}-{job.number}"

    def _sent(self, count: int) -> None:
        self.sent += count

    def _change(self, work: Callable[[Twin], Twin]) -> Twin:
        return self._notes.change(self._place.device, work)


def note_trouble(twin: Twin, trouble: Trouble) -> Twin:
    """Note why a pass came to nothing."""
    return twins.troubled(twin, trouble.reason, trouble.message)


def _arrived(twin: Twin, now: datetime) -> Twin:
    """Note that a device was there. What was wrong with it is wrong until a pass has come to its end, except that
    there was no way to it.
    """
    quiet = replace(twin, reason="", message="")
    after = twins.seen(quiet, now)
    if twin.reason in _WAYS:
        return after if after != twin else twin
    return twin if after == quiet else replace(after, reason=twin.reason, message=twin.message)


_WAYS = frozenset(
    {"Unreachable", "AuthenticationFailed", "HostKeyUnknown", "HostKeyMismatch", "HostKeyRevoked", "KeyUnusable"}
)
"""Reasons of NoWay."""


def _links(files: Files) -> list[tuple[str, str]]:
    return [(file.name, hex_of(file.digest)) for file in files]


def _failed(twin: Twin, number: int, now: datetime, trouble: Trouble) -> Twin:
    return twins.fail(twin, number, now, trouble.reason, trouble.message)


def _known(twin: Twin) -> list[ModelAssignment]:
    """What may be on a device."""
    assigned = twin.assignment.models if twin.assignment is not None else ()
    job = [twin.job.target] if twin.job is not None and twin.job.target is not None else []
    return [*assigned, *job, *(model.installed for model in twin.models if model.installed is not None)]


def _is_done(job: Job, there: Mapping[str, ModelTwin], proof: Proof) -> bool:
    """Whether a device is as a job wants it."""
    found = there.get(job.model, ModelTwin(job.model))
    if job.target is None:
        return found.installed is None
    return found.installed == job.target and (proof is Proof.INSTALLED or found.proof is Proof.VERIFIED)
