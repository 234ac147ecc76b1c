"""The state store as a whole: the sum of the ports for its subjects. Implemented by ``state``.

What needs one subject takes that subject's port: ``artifacts``, ``rollouts``, ``devices``, ``history`` or ``control``.
"""

from typing import Protocol

from edgewright.ports.artifacts import ArtifactReader, ArtifactWriter
from edgewright.ports.control import ControlReader, ControlWriter
from edgewright.ports.devices import DeviceStateReader, DeviceStateWriter
from edgewright.ports.history import HistoryReader, HistoryWriter
from edgewright.ports.rollouts import RolloutReader, RolloutWriter


class StateReader(ArtifactReader, RolloutReader, DeviceStateReader, HistoryReader, ControlReader, Protocol):
    """Reads the state store, as one environment.

    Artifacts, failures and durations are shared by all environments of a store. Everything else is the environment's
    own.
    """


class StateWriter(ArtifactWriter, RolloutWriter, DeviceStateWriter, HistoryWriter, ControlWriter, Protocol):
    """Writes the state store. Every method is one transaction, durable when it returns, and checks the lease.

    What comes from outside (reports, enrollments, requests for controls, signals) may also be written without a lease:
    people and devices speak while an apply is running.

    Raises (all): LeaseLost when the fence has moved on; StateError when a lease is needed and not held, or the store
    is read-only; StorageFull when the disk is full.
    """
