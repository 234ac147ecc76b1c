"""Delivery to a fleet's devices: the update system that reaches them, and the proof that they can give."""

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from edgewright_schemas.base import Duration, SpecModel
from edgewright_schemas.notifications import SecretRef

System = Literal["agent", "ssh", "ddi", "mender", "hawkbit", "mender-server"]
"""``agent``: edgewright-agent. ``ssh``: pushed by the controller. ``ddi`` and ``mender``: the devices' own client asks
edgewright as if it were hawkBit or Mender. ``hawkbit`` and ``mender-server``: through a server of yours."""

_SECTIONS = {"ssh": "ssh", "ddi": "ddi", "mender": "mender", "hawkbit": "hawkbit", "mender-server": "mender_server"}


class Restart(SpecModel):
    """Notification of the application after a switch, by exactly one of unit and signal. Without this section, the
    application has to notice the new model itself."""

    unit: str | None = Field(default=None, pattern=r"^[A-Za-z0-9:_.@\\-]+$", examples=["lane.service"])
    """A systemd unit to restart."""
    signal: Literal["HUP", "USR1", "USR2"] | None = None
    """A signal to send to the process in ``pidFile``."""
    pid_file: str | None = Field(default=None, pattern=r"^/")
    """Where the process that gets the signal writes its id."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if (self.unit is None) == (self.signal is None):
            raise ValueError("give exactly one of unit and signal")
        if (self.signal is None) != (self.pid_file is None):
            raise ValueError("signal and pidFile belong together")
        return self


class SshSettings(SpecModel):
    """Pushing over SSH. What differs between devices is in the inventory: ``ssh.host``, ``ssh.port``, ``ssh.user``,
    ``ssh.key``, ``ssh.hostKey``, ``ssh.jump``."""

    user: str | None = None
    """The user to log in as, unless the inventory says otherwise; by default the controller's own user."""
    port: int = Field(default=22, ge=1, le=65535)
    """The SSH port, unless the inventory says otherwise."""
    key: str | None = None
    """File of the private key on the controller; by default ``ssh/id_ed25519`` in its folder of keys."""
    known_hosts: str | None = None
    """A file of the repository in the format of sshd(8), SSH_KNOWN_HOSTS: host keys of devices, and of jump hosts."""
    jump: str | None = Field(default=None, examples=["gate@site-7.example.com:22"])
    """A jump host to connect through."""
    restart: Restart | None = None
    """How to notify the application after a switch."""
    connect_timeout: Duration = timedelta(seconds=10)
    """Time limit for connecting and logging in."""
    timeout: Duration = timedelta(minutes=5)
    """Time limit for one session with a device; then the connection is closed and another device is served."""
    at_once: int = Field(default=20, ge=1, le=500)
    """Number of devices that the controller works on at the same time."""
    check_interval: Duration = timedelta(minutes=5)
    """How often a device with nothing to do is inspected."""


class Bundle(SpecModel):
    """Bundle for SWUpdate or RAUC."""

    format: Literal["swu", "rauc"] = "swu"
    """Format of the bundle: SWUpdate's ``.swu`` or RAUC's ``.raucb``."""
    hardware: tuple[str, ...] = Field(default=("1.0",), min_length=1)
    """``hardware-compatibility`` of a ``.swu``: the hardware revisions that devices report."""
    compatible: str = "edgewright"
    """``compatible`` of a RAUC bundle, as in the devices' ``system.conf``."""
    template: str | None = Field(default=None, examples=["templates/sw-description.j2"])
    """A jinja2 file in the repository for the bundle's descriptor, in place of edgewright's own."""


class DdiSettings(SpecModel):
    """Serving hawkBit's device API."""

    bundle: Bundle = Bundle()
    """The bundle that devices install."""
    poll: Duration = timedelta(minutes=5)
    """How often devices shall poll."""
    tokens: Literal["target", "gateway"] = "target"
    """A token for each device, or one for all behind a gateway."""


class MenderSettings(SpecModel):
    """Serving Mender's device API."""

    device_type: str = Field(default="edgewright", min_length=1)
    """The device type, as in the devices' ``device_type`` file."""
    module: Literal["edgewright", "directory"] = "edgewright"
    """The update module on the devices. ``directory`` comes with the client and proves nothing but installation."""


class HawkbitSettings(SpecModel):
    """A hawkBit server of yours; its devices have the ids of the inventory."""

    url: str = Field(pattern=r"^https?://", examples=["https://hawkbit.example.com"])
    user: str = Field(min_length=1, examples=["DEFAULT\\edgewright"])
    password: SecretRef
    """The secret that holds the user's password."""
    bundle: Bundle = Bundle()
    """The bundle that is uploaded."""
    create_targets: bool = True
    """Create missing targets. If false, a device waits until somebody has created its target."""
    module_type: str = Field(default="application", min_length=1)
    """Type key of the software modules that edgewright creates."""
    set_type: str = Field(default="app", min_length=1)
    """Type key of the distribution sets that edgewright creates; the type must allow such a module."""


class MenderServerSettings(SpecModel):
    """A Mender server of yours; its devices are found by an attribute that holds the inventory's id."""

    url: str = Field(pattern=r"^https?://", examples=["https://mender.example.com"])
    token: SecretRef
    """The secret that holds a personal access token."""
    device_type: str = Field(default="edgewright", min_length=1)
    module: Literal["edgewright", "directory"] = "edgewright"
    """As for mender."""
    attribute: str = "edgewright_id"
    """The inventory or identity attribute that holds a device's id."""
    inventory_interval: Duration = timedelta(hours=8)
    """How often the server takes a device's inventory, which carries the proof: clients send it every eight hours, and
    hosted Mender takes no more. Two intervals and an hour are waited for a proof."""

    @property
    def proof_after(self) -> timedelta:
        """Time after a success for the inventory to show it: one interval may have begun just before."""
        return 2 * self.inventory_interval + timedelta(hours=1)


class Delivery(SpecModel):
    """Update system that reaches devices, and its settings."""

    type: System = "agent"
    """The update system."""
    root: str = Field(default="/var/lib/edgewright", pattern=r"^/[^\x00]*$")
    """Where models are kept on devices without the agent: ``ROOT/models/NAME/active`` is what runs."""
    proof: Literal["verified", "installed"] | None = None
    """The proof required of devices. ``verified``: the golden samples passed there, which needs ``installer``.
    ``installed``: the update system reports success; nothing more is known. By default ``verified``, except with an
    update module that cannot prove it."""
    installer: str = Field(default="edgewright-agent", min_length=1)
    """The command on devices without a running agent that installs, proves and switches."""
    ssh: SshSettings | None = None
    ddi: DdiSettings | None = None
    mender: MenderSettings | None = None
    hawkbit: HawkbitSettings | None = None
    mender_server: MenderServerSettings | None = None

    @model_validator(mode="after")
    def _sections_fit(self) -> Self:
        own = _SECTIONS.get(self.type)
        for section in _SECTIONS.values():
            if section != own and getattr(self, section) is not None:
                name = type(self).model_fields[section].alias or section
                raise ValueError(f"{name} is given, but type is {self.type}")
        if self.type in {"hawkbit", "mender-server"} and getattr(self, own or "") is None:
            raise ValueError(f"type {self.type} needs its section: where the server is, and who signs in")
        if self.type == "agent" and self.proof == "installed":
            raise ValueError("an agent always runs the golden samples: leave proof out")
        settings = self.mender or self.mender_server
        if self.proof == "verified" and settings is not None and settings.module == "directory":
            raise ValueError("the update module 'directory' cannot prove more than: proof: installed")
        return self

    @property
    def proves(self) -> Literal["verified", "installed"]:
        """Proof required of devices, with the default applied."""
        settings = self.mender or self.mender_server
        plain = settings is not None and settings.module == "directory"
        return self.proof or ("installed" if plain else "verified")
