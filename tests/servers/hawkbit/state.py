"""What a hawkBit keeps: targets, software modules, distribution sets, actions and their history."""

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from servers.api_server import milliseconds
from servers.hawkbit.fiql import Fields

MESSAGE_LENGTH = 512
"""Longer messages are cut into pieces of this length."""
OWN = "Update Server: "
_OPEN = frozenset({"running", "retrieved", "download", "downloaded", "warning", "canceling", "scheduled"})


@dataclass
class Target:
    id: str
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    asked_at: int | None = None
    assigned: int | None = None
    installed: int | None = None


@dataclass
class Artifact:
    id: int
    name: str
    content: bytes

    @property
    def hashes(self) -> dict[str, str]:
        return {kind: hashlib.new(kind, self.content).hexdigest() for kind in ("sha1", "md5", "sha256")}


@dataclass
class Module:
    id: int
    name: str
    version: str
    type: str
    deleted: bool = False
    artifacts: list[Artifact] = field(default_factory=list)


@dataclass
class DistributionSet:
    id: int
    name: str
    version: str
    type: str
    modules: list[int]
    deleted: bool = False


@dataclass
class Status:
    id: int
    type: str
    messages: list[str]
    at: int = field(default_factory=milliseconds)


@dataclass
class Action:
    id: int
    target: str
    set_id: int
    type: str = "forced"
    status: str = "running"
    history: list[Status] = field(default_factory=list)

    @property
    def active(self) -> bool:
        return self.status in _OPEN


class HawkbitState:
    """Everything, and how actions live."""

    def __init__(self) -> None:
        self.targets: dict[str, Target] = {}
        self.modules: dict[int, Module] = {}
        self.sets: dict[int, DistributionSet] = {}
        self.actions: dict[int, Action] = {}
        self._last = 0

    def next_id(self) -> int:
        self._last += 1
        return self._last

    def open_of(self, target: str) -> list[Action]:
        """Open actions of a target, oldest first."""
        return [each for each in self.actions.values() if each.target == target and each.active]

    def assign(self, set_id: int, target: str, kind: str) -> Action | None:
        """Assign a set; what is open is cancelled. None: the target has it assigned already."""
        known = self.targets[target]
        if known.assigned == set_id:
            return None
        for action in self.open_of(target):
            if action.status != "canceling":
                self.say(action, "canceling", [OWN + "cancel obsolete action due to new update"])
                action.status = "canceling"
        action = Action(self.next_id(), target, set_id, kind)
        self.actions[action.id] = action
        self.say(action, "running", [OWN + "Assignment initiated by user 'edgewright'"])
        known.assigned = set_id
        return action

    def say(self, action: Action, kind: str, messages: Sequence[str]) -> None:
        """Add to an action's history."""
        pieces = [
            message[at : at + MESSAGE_LENGTH]
            for message in messages
            for at in range(0, max(len(message), 1), MESSAGE_LENGTH)
        ]
        action.history.append(Status(self.next_id(), kind, pieces))

    def close(self, action: Action, status: str, messages: Sequence[str]) -> None:
        """A device has closed its action, or somebody for it."""
        target = self.targets[action.target]
        self.say(action, status, messages)
        action.status = status
        if status == "finished":
            target.installed = action.set_id
        elif status == "error":
            target.assigned = None
        else:
            others = self.open_of(action.target)
            target.assigned = others[-1].set_id if others else target.installed

    def cancel(self, action: Action) -> bool:
        """Ask a device to stop; False: it cannot be cancelled."""
        if not action.active or action.status == "canceling":
            return False
        self.say(action, "canceling", [OWN + "manual cancelation requested"])
        action.status = "canceling"
        return True

    def quit(self, action: Action) -> bool:
        """End without a device's word what is being cancelled; False: it is not."""
        if action.status != "canceling":
            return False
        self.close(action, "canceled", [OWN + "A force quit has been performed."])
        return True


TARGET_FIELDS: Fields = {
    "id": lambda target: target.id,
    "controllerid": lambda target: target.id,
    "name": lambda target: target.id,
    "lastcontrollerrequestat": lambda target: target.asked_at,
}
NAMED_FIELDS: Fields = {
    "id": lambda each: each.id,
    "name": lambda each: each.name,
    "version": lambda each: each.version,
    "type": lambda each: each.type,
}


def action_fields(state: HawkbitState) -> Fields:
    """How actions are asked for."""
    return {
        "id": lambda action: action.id,
        "active": lambda action: action.active,
        "status": lambda action: action.status,
        "target.controllerid": lambda action: action.target,
        "target.name": lambda action: action.target,
        "distributionset.id": lambda action: action.set_id,
        "distributionset.name": lambda action: state.sets[action.set_id].name,
        "distributionset.version": lambda action: state.sets[action.set_id].version,
    }
