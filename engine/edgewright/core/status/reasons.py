"""Every reason that events and conditions give: how bad it is, and what it means. ``docs/reference/status.md`` lists
them.

A test finds the reasons in the engine's code and holds this table and the page to them.
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

Severity = Literal["info", "warning", "error"]


class Meaning(NamedTuple):
    """One reason."""

    severity: Severity
    words: str


_INFO = {
    "Aborted": "a person aborted a rollout; its devices go back",
    "AwaitingApproval": "a wave waits for `edgewright rollout approve`",
    "Deferred": "offline devices catch up when they return",
    "DeviceDeferred": "a device is offline; it catches up later",
    "DeviceInstalled": "a device has the release in place, and can prove no more",
    "DeviceReturning": "a device goes back to its last verified release",
    "DeviceVerified": "a device runs the release and has verified it",
    "DevicesJoined": "devices joined a rollout's fleet",
    "DevicesLeft": "devices left a rollout's fleet",
    "FellBack": "the preferred variant was not made, is too far off or failed a gate; another one is packaged",
    "Fetching": "the source is being asked for the first time",
    "HistoryRewritten": "the followed branch was rewritten; its new commit is in force",
    "HoldEnded": "a device that was held back takes part again",
    "OutsideWindow": "a wave waits for the rollout's window",
    "Pausing": "a rollout is about to pause",
    "Planned": "a run would do something",
    "Progressing": "a new revision is being taken up",
    "PruneDisabled": "no longer declared; its annotation, or the repository, forbids pruning",
    "Pruned": "no longer declared, and no longer managed",
    "Published": "a package can be fetched by devices",
    "Renamed": "one resource went and one came; it may have a new name",
    "Repaired": "what had drifted is as it should be again",
    "RevisionTaken": "a new revision is in force",
    "Rolling": "devices of a wave are changing",
    "RolloutStarted": "a rollout begins",
    "RolloutSucceeded": "a rollout has reached its whole fleet",
    "RolloutWaiting": "a rollout waits",
    "Soaking": "a wave is verified; its soak time runs",
    "Starting": "a rollout is about to begin",
    "StepCancelled": "a step was stopped; it can resume",
    "StepDone": "a step was done",
    "Succeeded": "a rollout has succeeded",
    "Suspended": "the spec says `suspend: true`",
    "Test": "sent by `edgewright notify test`",
    "UpToDate": "reality matches the spec",
    "Waiting": "a rollout waits",
    "WavePassed": "a wave has passed",
    "WaveStarted": "a wave begins",
}
_WARNING = {
    "ConfigDrifted": "a device, a published file or a stored blob is not what it should be",
    "ConfigFailed": "the configuration of a device cannot be rendered with its labels; it keeps what it has",
    "Conflict": "the labels of a device put it into two fleets; it keeps what it has",
    "DeviceFailed": "a device failed to take the release",
    "DeviceIneligible": "a device cannot take the release",
    "Duplicate": "two machines report under one name; the device keeps what it has",
    "EmptySnapshot": "the revision declares nothing; what was managed is kept",
    "GateInconclusive": "a gate on devices has no evidence yet",
    "KindVanished": "every resource of a kind is no longer declared",
    "NoDeviceAnswered": "no device of a wave has answered",
    "NoDevices": "a wave has no devices",
    "NoEvidence": "no device of a wave is verified; the rollout is paused",
    "NotJudged": "an earlier version made a model's evidence, which lacks a judgement of today's",
    "NotificationFailed": "a receiver of notifications cannot be told",
    "NotificationsLeftOut": "notifications were left out because of a receiver's limit",
    "OrderNotDeclared": "only names in an imported model's file can tell the order of its outputs and inputs",
    "Paused": "a person, or a failure, paused a rollout",
    "PreviewFailed": "a pull request could not be told of its consequences",
    "ProofTakesLong": "devices prove a release with an inventory that is sent rarely",
    "RequestDropped": "what a person asked of a rollout was not, or is no longer, carried out",
    "Retrying": "something failed and is tried again",
    "Returning": "a rollout was halted; its devices go back",
    "RolledBack": "a device runs its last verified release again",
    "RolloutPaused": "a rollout was paused",
    "RolloutSuspended": "a rollout was suspended by its spec",
    "SourceMoved": "a source outside Git is no longer what the spec pins",
    "SourceUnavailable": "the source did not answer",
    "TagIgnored": "a tag looks like a newer version in the followed range, and is none",
}
_ERROR = {
    "DatasetBlocked": "the model's dataset cannot be built",
    "DeviceGateFailed": "a gate measured on devices failed",
    "DeviceGateInconclusive": "a gate measured on devices stayed without evidence",
    "DevicesFailed": "too many devices failed",
    "GateFailed": "a gate failed; nothing reaches a device",
    "ModelBlocked": "the rollout's model has no new package",
    "NoEligibleDevice": "no device of a wave can take the release",
    "RefMissing": "the branch, tag or commit to follow does not exist",
    "ReleaseRejected": "this release failed before; change the spec to try again",
    "RolloutAborted": "a person aborted a rollout",
    "RolloutFailed": "a rollout failed and was taken back",
    "RolloutHalted": "a rollout was halted",
    "RolloutStuck": "a rollout cannot go on",
    "SignatureBad": "a signature does not fit the revision",
    "SignatureExpired": "the signing key had expired",
    "SignatureMissing": "the revision is not signed",
    "SignatureRevoked": "the signing key is revoked",
    "SignatureUnknown": "the signing key is not trusted",
    "SourceNotPinned": "a source outside Git has no digest in the spec",
    "SourceRefused": "the source refused: credentials or rights",
    "SpecInvalid": "the revision's specs are wrong",
    "StepFailed": "a step cannot succeed until something changes",
    "VerificationLost": "a device no longer verifies the release",
}
REASONS: Mapping[str, Meaning] = {
    **{reason: Meaning("error", words) for reason, words in _ERROR.items()},
    **{reason: Meaning("warning", words) for reason, words in _WARNING.items()},
    **{reason: Meaning("info", words) for reason, words in _INFO.items()},
}
"""Worst first."""
_RENAMED = {
    "Drifted": "ConfigDrifted",
    "NoticeFailed": "NotificationFailed",
    "NoticesLeftOut": "NotificationsLeftOut",
}
"""Reasons by the names that earlier versions gave them: in history, and in specs that select by reason."""


def current_reason(reason: str) -> str:
    """Return the present name of a reason."""
    return _RENAMED.get(reason, reason)
