"""Kind Fleet: devices, their delivery and their configuration."""

import base64
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, WithJsonSchema, model_validator

from edgewright_schemas.base import API_VERSION, Metadata, Selector, SpecModel
from edgewright_schemas.delivery import Delivery
from edgewright_wire.names import DeviceId


class DeliveryOverride(SpecModel):
    """Delivery of some devices of the fleet that differs from the fleet's."""

    select: Selector
    """The devices, like ``{matchLabels: {class: handheld}}``."""
    delivery: Delivery
    """Their delivery, in place of the fleet's."""


class DeviceConfig(SpecModel):
    """A file rendered for each device; it switches together with the model."""

    template: str = Field(min_length=1, examples=["templates/lane.toml.j2"])
    """A jinja2 file in the repository. It sees ``device`` (id, labels), ``model``, ``fleet`` and ``values``."""
    path: str = Field(min_length=1, pattern=r"^[^/\\]+$", examples=["lane.toml"])
    """The file's name beside the model on the device."""
    values: dict[str, Any] = {}


_KEY_PARTS = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
}
"""How many strings a host key of each type consists of, with its type: RFC 4253, 5656 and 8709."""


def _valid_host_key(text: str) -> str:
    kind, _, rest = text.partition(" ")
    if kind not in _KEY_PARTS:
        raise ValueError(f"{text[:40]!r} is no public host key: its type is one of {', '.join(_KEY_PARTS)}")
    parts = _strings(rest.partition(" ")[0])
    if not parts:
        raise ValueError(f"the {kind} key is damaged: copy it from the device's /etc/ssh/ssh_host_*_key.pub again")
    named = parts[0].decode("ascii", "replace")
    if named != kind:
        raise ValueError(f"the key says that it is {named[:40]}, not {kind}: copy both from the same line")
    if len(parts) != _KEY_PARTS[kind]:
        raise ValueError(f"the {kind} key is damaged: copy it from the device's /etc/ssh/ssh_host_*_key.pub again")
    return text


def _strings(encoded: str) -> list[bytes]:
    """Split what is encoded as lengths and bytes; nothing where that cannot be done."""
    try:
        data = base64.b64decode(encoded, validate=True)
    except ValueError:
        return []
    found: list[bytes] = []
    while data:
        end = 4 + int.from_bytes(data[:4], "big")
        if end > len(data):
            return []
        found.append(data[4:end])
        data = data[end:]
    return found


HostKey = Annotated[
    str,
    AfterValidator(_valid_host_key),
    WithJsonSchema({"type": "string", "pattern": rf"^({'|'.join(_KEY_PARTS)}) [A-Za-z0-9+/]+={{0,2}}( .*)?$"}),
]
"""``TYPE BASE64``, as in a ``.pub`` file; a comment may follow."""


class SshHost(SpecModel):
    """SSH connection of one device; fields left out are taken from the fleet."""

    host: str | None = Field(default=None, min_length=1)
    """Name or address; by default the device's id."""
    port: int | None = Field(default=None, ge=1, le=65535)
    user: str | None = Field(default=None, min_length=1)
    key: str | None = Field(default=None, min_length=1)
    """File of the private key on the controller."""
    host_key: HostKey | None = None
    """The device's public host key; else it must be in the fleet's ``knownHosts``."""
    jump: str | None = Field(default=None, min_length=1)
    """A jump host, like ``gate@site-7.example.com:22``."""


class Device(SpecModel):
    """One inventory entry. The label ``class`` names the device class."""

    id: DeviceId
    labels: dict[str, str] = {}
    ssh: SshHost | None = None
    """Its SSH connection, for ``delivery: {type: ssh}``; in a CSV file the columns ``ssh.host``, ``ssh.hostKey``, …"""


class FleetSpec(SpecModel):
    """The desired fleet."""

    selector: Selector | None = None
    """Chooses among enrolled devices and the inventory's."""
    inventory: str | tuple[Device, ...] | None = None
    """A CSV file in the repository (column ``id``; the others are labels), or the devices themselves."""
    delivery: Delivery = Delivery()
    overrides: tuple[DeliveryOverride, ...] = ()
    """Devices with another delivery; the first override that matches applies."""
    config: DeviceConfig | None = None

    @model_validator(mode="after")
    def _has_devices(self) -> Self:
        if self.selector is None and self.inventory is None:
            raise ValueError("a fleet needs selector, inventory or both")
        return self


class Fleet(SpecModel):
    """Devices that are updated together."""

    api_version: Literal["edgewright.dev/v1alpha1"] = API_VERSION
    kind: Literal["Fleet"]
    metadata: Metadata
    spec: FleetSpec
