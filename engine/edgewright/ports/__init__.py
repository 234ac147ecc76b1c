"""The Protocols through which decisions become effects, read and write sides apart.

Drivers below ``source``, ``state``, ``artifacts``, ``build`` and ``delivery`` implement them; ``apply`` is driven
through them; ``cli`` wires. Fakes under tests/fakes implement the same Protocols and pass the same suites. A module
for each side of the engine; everything is imported from here.
"""

from edgewright.core.fleet.enrollment import IdentityStatus
from edgewright.core.status.events import Event
from edgewright.core.status.notifications import Notification
from edgewright.core.status.reasons import Severity
from edgewright.ports.blobs import BlobReader, BlobStore, BlobWriter
from edgewright.ports.builds import Builder, BuildTask, Built, Cancel, Progress, TaskCheckout, TaskInput
from edgewright.ports.configs import ConfigRenderer, ConfigRequest
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
from edgewright.ports.forges import Comment, Forge, ForgeReader, ForgeWriter, PullRequest, StatusState
from edgewright.ports.notifications import Notifier
from edgewright.ports.sources import Fetched, Merge, SnapshotSource, SourceObserver, Upstream
from edgewright.ports.states import DeviceAssignment, Intent, Lease, StateReader, StateWriter
from edgewright.ports.twins import Identity, IdentityStore, ReportInbox, TwinStore

__all__ = [
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
    "DeliveryReader",
    "DeliveryWriter",
    "DeviceAssignment",
    "DeviceReader",
    "DeviceWriter",
    "Driver",
    "Event",
    "Fetched",
    "Forge",
    "ForgeReader",
    "ForgeWriter",
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
