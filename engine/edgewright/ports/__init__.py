"""The Protocols through which decisions become effects, read and write sides apart.

``state``, ``blobs``, ``source``, ``pipeline``, ``delivery``, ``forges`` and ``notifications`` implement them;
``reconcile``, ``controller``, ``services`` and ``server`` use them; ``wiring`` puts the two together. Fakes under
tests/fakes implement the same Protocols and pass the same suites. A module for each side of the engine; everything is
imported from here.
"""

from edgewright.core.fleet.enrollment import IdentityStatus
from edgewright.core.status.events import Event
from edgewright.core.status.notifications import Notification
from edgewright.core.status.reasons import Severity
from edgewright.ports.artifacts import ArtifactReader, ArtifactWriter
from edgewright.ports.blobs import BlobReader, BlobStore, BlobWriter
from edgewright.ports.builds import Builder, BuildTask, Built, Cancel, Progress, TaskCheckout, TaskInput
from edgewright.ports.configs import ConfigRenderer, ConfigRequest
from edgewright.ports.control import ControlReader, ControlWriter, Intent, Lease
from edgewright.ports.deliveries import (
    DeliveryReader,
    DeliveryWriter,
    DeviceReader,
    DeviceWriter,
    Driver,
    PackageContent,
    PackageReader,
    PackageWriter,
)
from edgewright.ports.devices import DeviceAssignment, DeviceStateReader, DeviceStateWriter
from edgewright.ports.forges import Comment, Forge, ForgeReader, ForgeWriter, PullRequest, StatusState
from edgewright.ports.history import HistoryReader, HistoryWriter
from edgewright.ports.notifications import Notifier
from edgewright.ports.rollouts import RolloutReader, RolloutWriter
from edgewright.ports.sources import Fetched, Merge, SnapshotSource, SourceObserver, Upstream
from edgewright.ports.states import StateReader, StateWriter
from edgewright.ports.twins import Identity, IdentityStore, ReportInbox, TwinStore

__all__ = [
    "ArtifactReader",
    "ArtifactWriter",
    "BlobReader",
    "BlobStore",
    "BlobWriter",
    "BuildTask",
    "Builder",
    "Built",
    "Cancel",
    "Comment",
    "ConfigRenderer",
    "ConfigRequest",
    "ControlReader",
    "ControlWriter",
    "DeliveryReader",
    "DeliveryWriter",
    "DeviceAssignment",
    "DeviceReader",
    "DeviceStateReader",
    "DeviceStateWriter",
    "DeviceWriter",
    "Driver",
    "Event",
    "Fetched",
    "Forge",
    "ForgeReader",
    "ForgeWriter",
    "HistoryReader",
    "HistoryWriter",
    "Identity",
    "IdentityStatus",
    "IdentityStore",
    "Intent",
    "Lease",
    "Merge",
    "Notification",
    "Notifier",
    "PackageContent",
    "PackageReader",
    "PackageWriter",
    "Progress",
    "PullRequest",
    "ReportInbox",
    "RolloutReader",
    "RolloutWriter",
    "Severity",
    "SnapshotSource",
    "SourceObserver",
    "StateReader",
    "StateWriter",
    "StatusState",
    "TaskCheckout",
    "TaskInput",
    "TwinStore",
    "Upstream",
]
