"""The planner's workbench: what is planned so far, and what of the observed state was looked at.

Used by ``builds``, ``rollouts``, ``repairs`` and ``planner`` of this folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.config_drift import CONFIG_DRIFTED
from edgewright.core.gates import GateOutcome
from edgewright.core.planning.changes import Latest, why
from edgewright.core.planning.earlier import corrected, earlier_fingerprint
from edgewright.core.planning.fingerprint import fingerprint
from edgewright.core.planning.observed import Observed
from edgewright.core.planning.plan import ACTIONS, BuildStep, Note, Step, step_id
from edgewright.core.snapshot import Snapshot
from edgewright_wire.canonical import digest_json


@dataclass(frozen=True, slots=True)
class Node:
    """One artifact of the desired state: there, to be made, or out of reach."""

    fingerprint: str | None = None
    artifact: Artifact | None = None
    step: str | None = None
    """Id of the step that will make it."""
    blocked: bool = False
    lost: bool = False
    """Recorded, but its stored files are not whole, and nothing is repaired here: nothing can be made from it."""

    @property
    def digest(self) -> str | None:
        """The output's digest, where it is known."""
        return self.artifact.digest if self.artifact else None


BLOCKED = Node(blocked=True)


@dataclass
class Workbench:
    """Steps, notes and verdicts as they accumulate."""

    desired: Snapshot
    observed: Observed
    clock_time: datetime
    steps: list[Step] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    verdicts: dict[Address, tuple[GateOutcome, ...]] = field(default_factory=dict)
    touched: set[str] = field(default_factory=set)
    """Devices that rollouts starting now take in."""
    consulted: dict[str, Any] = field(default_factory=dict)
    """Every observed fact a decision rested on; the plan is stale when one of them changes."""

    depends_on_time: bool = False
    """Whether a decision asked for the time."""

    def __post_init__(self) -> None:
        self._latest = Latest(self.observed.remembered or self.observed.artifacts)
        self._planned: dict[str, Node] = {}
        self._told: set[str] = set()
        self.heals = self.desired.reconciliation().self_heal
        """Whether what has drifted is repaired, or only reported."""

    @property
    def now(self) -> datetime:
        """The time; a decision that asks for it may be another one a moment later."""
        self.depends_on_time = True
        return self.clock_time

    def note(
        self,
        address: Address,
        severity: str,
        reason: str,
        message: str,
        gates: tuple[GateOutcome, ...] = (),
    ) -> None:
        """Add a note."""
        self.notes.append(Note(address, severity, reason, message, gates))

    def artifact(self, of: str) -> Artifact | None:
        """Look an artifact up by fingerprint, and remember having looked."""
        found = self.observed.artifacts.get(of)
        self.consulted[f"artifact {of}"] = found.digest if found else None
        return found

    def find(
        self, of: str, action: Action, components: Mapping[str, str], inputs: Mapping[str, Node], doubt: str = ""
    ) -> tuple[Node | None, str]:
        """Find an artifact, made by this version of the builder or by an earlier one, where that still holds.

        ``doubt`` says why one of an earlier version does not.

        Returns:
            Its node, or None; and what may be wrong with an earlier one, where there is such a thing.
        """
        wrong = ""
        earlier = earlier_fingerprint(action, components)
        newer = of in self.observed.artifacts and action is Action.EVALUATE
        if not newer and earlier is not None and (found := self.observed.artifacts.get(earlier)):
            made_from = {role: node.artifact for role, node in inputs.items() if node.artifact is not None}
            wrong = corrected(found, made_from, components) or doubt
            if not wrong:
                return Node(earlier, self.artifact(earlier)), ""
        artifact = self.artifact(of)
        return (Node(of, artifact) if artifact else None), wrong

    def _remembered(self, of: str, action: Action, components: Mapping[str, str]) -> Artifact | None:
        made = self.observed.remembered
        return made.get(of) or made.get(earlier_fingerprint(action, components) or "")

    def _report_lost(self, artifact: Artifact) -> None:
        if artifact.fingerprint not in self._told:
            self._told.add(artifact.fingerprint)
            digest = artifact.digest.removeprefix("sha256:")[:12]
            what = f"expected the stored files of its {artifact.action} ({digest})"
            message = f"{what}, found them missing or changed; nothing is rebuilt, since selfHeal is false"
            self.note(artifact.address, "warning", CONFIG_DRIFTED, message)

    def build(
        self,
        kind: type[Any],
        address: Address,
        components: Mapping[str, str],
        inputs: Mapping[str, Node],
        *,
        unless: str = "",
        doubt: str = "",
        **extra: Any,
    ) -> Node:
        """Plan one build step, or find that its artifact is there already or is planned for another resource.

        Args:
            kind: The step's class, one of BuildStep.
            address: The resource it belongs to.
            components: What its output depends on, with KNOWN_AFTER_APPLY for what an input still to be made decides.
            inputs: The artifacts it waits for, by role; while one is missing, the fingerprint is unknown.
            unless: In words, what would spare the step while its fingerprint is unknown.
            doubt: Why an artifact of an earlier version of the builder is not taken over; empty where it may be.
            extra: The step's own fields.
        """
        if any(node.blocked for node in inputs.values()):
            return BLOCKED
        action = ACTIONS[kind]
        of = fingerprint(action, components) if all(node.artifact for node in inputs.values()) else None
        wrong = ""
        if of is not None:
            made, wrong = self.find(of, action, components, inputs, doubt)
            if made is not None:
                return made
            if not self.heals and (kept := self._remembered(of, action, components)):
                self._report_lost(kept)
                return Node(kept.fingerprint, kept, lost=True)
            if any(node.lost for node in inputs.values()):
                return BLOCKED
            if failure := self.observed.failures.get(of):
                self.consulted[f"failure {of}"] = failure
                self.note(address, "blocked", "StepFailed", f"{action} failed: {failure}")
                return BLOCKED
        work = of or digest_json([action, dict(components), [[n.fingerprint, n.step] for n in inputs.values()]])
        if work not in self._planned:
            took = self.observed.durations.get((action, str(address)))
            step: BuildStep = kind(
                address=address,
                needs=tuple(node.step for node in inputs.values() if node.step),
                seconds=took.total_seconds() if took else None,
                reasons=why(self._latest, action, address, components, wrong),
                fingerprint=of,
                components=components if of else {},
                inputs={role: node.fingerprint or "" for role, node in inputs.items()} if of else {},
                unless="" if of else unless,
                **extra,
            )
            self.steps.append(step)
            self._planned[work] = Node(of, step=step_id(step))
        return self._planned[work]
