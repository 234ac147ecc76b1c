"""Names inside a published repository, a report drop and a payload: the same on a share, a web server or a CDN.

A published repository::

    metadata/    TUF metadata: root, timestamp, N.snapshot, N.targets, N.packages, N.assignments, N.bins-XX
    targets/     TUF targets, named <sha256>.<name> (consistent snapshots)
    blobs/sha256/<hex>    a package's layers and config, and device configurations, by digest

A payload, the folder that another update system brings to a device::

    assignment.json    the ModelAssignment
    manifest.json      the package's manifest, as signed
    …                  its layers but for documents, and the configuration, by the names they have on the device
"""

from edgewright_wire.canonical import hex_of
from edgewright_wire.slots import MANIFEST_FILE

METADATA = "metadata"
TARGETS = "targets"
PACKAGES_ROLE = "packages"
ASSIGNMENTS_ROLE = "assignments"
BIN_PREFIX = "bins"
PAYLOAD_ASSIGNMENT = "assignment.json"
PAYLOAD_MANIFEST = MANIFEST_FILE


def package_target(digest: str) -> str:
    """TUF target path of a package's manifest."""
    return f"packages/{hex_of(digest)}.json"


def assignment_target(device: str) -> str:
    """TUF target path of a device's assignment."""
    return f"assignments/{device}.json"


def blob_path(digest: str) -> str:
    """Path of a blob below the repository."""
    return f"blobs/sha256/{hex_of(digest)}"


def report_name(device: str) -> str:
    """File name of a device's newest report in a report drop."""
    return f"{device}.json"
