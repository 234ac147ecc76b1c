"""Messages between engine and device, version 1.

The engine writes assignments, the device writes reports. Both are statements of a whole state, not of changes:
the newest replaces all before it, so a lost or repeated message does no harm.
"""

from enum import StrEnum
from typing import Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from edgewright_wire.canonical import canonical_json
from edgewright_wire.names import DeviceId, Digest, FileName, ModelName


class WireModel(BaseModel):
    """Base of all messages: frozen; readers ignore what a later minor version added."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        allow_inf_nan=False,
    )

    def to_bytes(self) -> bytes:
        """Write canonical JSON."""
        return canonical_json(self.model_dump(mode="json", by_alias=True, exclude_none=True))

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read JSON.

        Raises:
            pydantic.ValidationError: The bytes are no message of this kind and version.
        """
        return cls.model_validate_json(data)


class Blob(WireModel):
    """Bytes by digest and length."""

    digest: Digest
    size: int = Field(ge=0)


class ConfigFile(Blob):
    """A rendered configuration file that switches together with its model."""

    path: FileName


class ModelAssignment(WireModel):
    """Assignment of one model to a device."""

    model: ModelName
    package: Blob
    """The package's OCI manifest."""
    config: ConfigFile | None = None
    release: str = Field(min_length=1)
    """Fingerprint of package and configuration together; what a rollout accepts or rejects."""


class Assignment(WireModel):
    """Assignment of all models of a device. Versions only grow; a device refuses a lower one."""

    schema_version: Literal[1] = 1
    device: DeviceId
    version: int = Field(ge=1)
    models: tuple[ModelAssignment, ...] = ()


class Phase(StrEnum):
    """Progress of a device with one model's assignment."""

    IDLE = "idle"
    FETCHING = "fetching"
    STAGED = "staged"
    PROBING = "probing"
    INSTALLED = "installed"
    """In place, as the device's own update system says; nothing more was shown. No agent says this of itself."""
    VERIFIED = "verified"
    FAILED = "failed"


class ProbeResult(WireModel):
    """Result of running the golden samples on the device's own runtime."""

    passed: bool
    samples: int = Field(ge=0)
    max_error: float | None = None
    """Largest absolute difference from the expected output; None when nothing finite came out."""
    atol: float
    latency_p95_ms: float | None = None
    runtime: str
    """The runtime and its version, like ``onnxruntime 1.20.0 CPUExecutionProvider``."""


class ModelReport(WireModel):
    """Report on one model. Installed, active and verified are three different facts."""

    model: ModelName
    phase: Phase
    release: str | None = None
    """The release the phase speaks of: the one assigned last."""
    installed: Digest | None = None
    """Package whose files are complete in the idle or active slot, newest first."""
    active: Digest | None = None
    """Package that serves inference."""
    active_release: str | None = None
    verified: Digest | None = None
    """Package that is active and whose golden samples passed on this device after the switch."""
    reason: str = ""
    """For a failure, one word: ProbeMismatch, DigestMismatch, FetchFailed, NoSpace, Incompatible, …"""
    message: str = ""
    probe: ProbeResult | None = None
    since: AwareDatetime | None = None


class Report(WireModel):
    """A device's statement of its whole state. Sequences only grow."""

    schema_version: Literal[1] = 1
    device: DeviceId
    sequence: int = Field(ge=1)
    sent_at: AwareDatetime
    agent_version: str
    device_class: str = ""
    assignment_version: int = Field(default=0, ge=0)
    """The newest assignment this device has verified and taken up; 0 before the first."""
    models: tuple[ModelReport, ...] = ()
    reason: str = ""
    """Why the repository's newest state was not taken up, one word: MetadataExpired, MetadataRollback,
    MetadataUntrusted, RepositoryUnreachable, AssignmentRollback, …; empty when all is well."""
    message: str = ""
    start: str | None = None
    """Names this start of the agent at random: two machines with one id are told apart so. None before version 0.1."""

    def model(self, name: str) -> ModelReport | None:
        """Find what is said of one model."""
        return next((m for m in self.models if m.model == name), None)
