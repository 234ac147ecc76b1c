"""Cancel deployments at a Mender server, without touching anybody else's. Used by ``sync``.

A deployment whose jobs are all cancelled is aborted as a whole. Of one that goes on for others, a device is
taken out only where it is in no other deployment: Mender aborts all of a device's, whoever made them.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from edgewright.core.fleet.twins import Twin
from edgewright.delivery.relayed.job_notes import write_note
from edgewright.delivery.relayed.jobs import is_cancelling
from edgewright.delivery.relayed.mender.api import Mender
from edgewright.delivery.relayed.mender.deployment_notes import DeploymentNote, note_of
from edgewright.delivery.relayed.twin_writes import TwinWrites

log = logging.getLogger(__name__)

_MOST_LOOKED_INTO = 50
"""Deployments of others; with more, it is not worth finding out."""


class Canceller:
    """Cancels jobs at Mender."""

    def __init__(self, mender: Mender, writes: TwinWrites, clock: Callable[[], datetime]) -> None:
        self._mender = mender
        self._writes = writes
        self._clock = clock

    def cancel(self, deployment: str, open_: Sequence[Twin]) -> dict[str, Twin]:
        """Cancel the cancelled jobs of a deployment, once; return the twins that changed.

        Args:
            deployment: Its id.
            open_: The devices that have not ended it.
        """
        off = {twin.device: note for twin in open_ if is_cancelling(twin) and (note := note_of(twin)) is not None}
        new = {device: note for device, note in off.items() if not note.stopped_at}
        if not new:
            return {}
        stopped = set(new)
        if len(off) == len(open_):
            self._mender.abort(deployment)
        else:
            stopped = self._take_out(deployment, new)
        now = self._clock().isoformat()
        return self._writes.change(
            new,
            lambda twin: write_note(
                twin, replace(new[twin.device], stopped_at=now if twin.device in stopped else _NOT_NOW)
            ),
        )

    def _take_out(self, deployment: str, notes: Mapping[str, DeploymentNote]) -> set[str]:
        shared = self._in_others(deployment, {note.device for note in notes.values()})
        if shared is None or shared:
            log.warning(
                "%s: devices that are in other deployments, too, go on with %s: they cannot be taken out of one alone",
                self._mender.name,
                deployment,
            )
        if shared is None:
            return set()
        free = {device: note.device for device, note in notes.items() if note.device not in shared}
        return {device for device, id_ in free.items() if self._mender.abort_device(id_)}

    def _in_others(self, deployment: str, devices: set[str]) -> set[str] | None:
        """Return the devices that are in other deployments too; None where that cannot be found out."""
        others = [each for each in self._mender.under_way() if each.id != deployment]
        if len(others) > _MOST_LOOKED_INTO or any(each.is_dynamic for each in others):
            return None
        return {device for each in others for device in self._mender.members(each.id) & devices}


_NOT_NOW = "-"
"""In place of a time: it was found that the device cannot be taken out."""
