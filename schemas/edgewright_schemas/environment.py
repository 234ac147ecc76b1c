"""Environments of a repository: the Git reference each follows, its differences and its reconciliation."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from edgewright_schemas.base import Duration, SpecModel

Scalar = bool | int | float | str

EnvironmentName = Annotated[
    str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$", examples=["staging", "production"])
]
"""Lower-case letters, digits, ``-`` and ``.``; at most 63 characters, as it becomes part of the names of files."""

ValueName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]*$")]


class AgentDelivery(SpecModel):
    """Folders for published files and for reports, and the enrollment of agents."""

    repository: str = ".edgewright/repository"
    """A folder any web server, share or site cache can serve; below the repository, or absolute."""
    reports: str = ".edgewright/reports"
    """A folder devices drop their reports into."""
    url: str | None = Field(default=None, pattern=r"^https?://[^/]+", examples=["https://edge.example.com"])
    """Where devices reach the controller, or the proxy before it, for links in what it serves; by default where they
    asked."""
    enrollment: Literal["operator", "inventory"] = "operator"
    """Who lets an agent in that comes by HTTP without a token. ``operator``: a person. ``inventory``: that a fleet's
    inventory lists its id, for the first key that asks; whoever knows an id could come first."""
    bins: int = Field(default=16, ge=2, le=16384)
    """Into how many signed files assignments are spread; a power of two, about one for 500 devices."""

    @field_validator("bins")
    @classmethod
    def _power_of_two(cls, bins: int) -> int:
        if bins & (bins - 1):
            lower = 1 << (bins.bit_length() - 1)
            raise ValueError(f"must be a power of two: {lower} or {2 * lower}")
        return bins


class Follow(SpecModel):
    """The Git reference to follow: exactly one of branch, tag, semver and commit."""

    branch: str | None = Field(default=None, min_length=1, examples=["main"])
    """The newest commit of a branch."""
    tag: str | None = Field(default=None, min_length=1, examples=["v1.4.0"])
    """The commit a tag leads to, also after the tag was moved."""
    semver: str | None = Field(default=None, min_length=1, examples=[">=1.4.0 <2.0.0"])
    """The newest tag in a range of semantic versions; a leading ``v`` of tags is ignored. Pre-releases only where the
    range names one."""
    commit: str | None = Field(default=None, pattern=r"^[0-9a-f]{40}$")
    """One commit, by its whole id."""

    @model_validator(mode="after")
    def _exactly_one(self) -> "Follow":
        if sum(value is not None for value in (self.branch, self.tag, self.semver, self.commit)) != 1:
            raise ValueError("give exactly one of branch, tag, semver and commit")
        return self

    def __str__(self) -> str:
        """Return kind and value: ``branch main``."""
        kind, value = next((k, v) for k, v in self.model_dump(exclude_none=True).items())
        return f"{kind} {value}"


class Reconciliation(SpecModel):
    """Reconciliation of the actual state with the specs."""

    interval: Duration = timedelta(minutes=1)
    """How often Git is polled, plus or minus a fifth; webhooks are quicker."""
    drift_interval: Duration = timedelta(minutes=5)
    """How often devices, published files and stored blobs are compared with what they should be."""
    self_heal: bool = True
    """Repair what no longer matches; otherwise only report it, with a diff."""
    prune: bool = True
    """Stop managing what is no longer declared; otherwise only report it."""
    suspend: bool = False
    """Observe and report, but change nothing."""

    @field_validator("interval", "drift_interval")
    @classmethod
    def _not_too_short(cls, value: timedelta) -> timedelta:
        if value < timedelta(seconds=1):
            raise ValueError("must be at least 1s")
        return value


class Environment(SpecModel):
    """One environment: a state and fleets of its own, made from the same specs."""

    name: EnvironmentName
    """The name that commands take: ``--env production``."""
    follow: Follow
    overlays: tuple[str, ...] = ()
    """Folders or files whose documents are merged into those of the same kind and name, in this order: mappings field
    by field, ``null`` removes a field, anything else (lists too) is replaced. A document of a new kind and name is
    added. They are no part of the other environments."""
    values: dict[ValueName, Scalar] = {}
    """What ``${name}`` stands for in the text of every document: alone, it takes the value's type; within other text, a
    number stays as it is written (``007``, ``1.10``). A name that is not here is an error. ``$${`` writes ``${``."""
    delivery: AgentDelivery | None = None
    """By default the repository's, below a folder of the environment's own."""
    reconciliation: Reconciliation | None = None
    """By default the repository's."""


class SshTrust(SpecModel):
    """SSH signatures."""

    allowed_signers: str
    """A file of the repository in the format of ssh-keygen(1), ALLOWED SIGNERS."""
    revoked: str | None = None
    """A file of the repository with revoked public keys, one on a line, or an OpenSSH key revocation list."""


class GpgTrust(SpecModel):
    """GPG signatures."""

    keys: str
    """A file of the repository with public keys (armored or not), and their revocations."""


class Verification(SpecModel):
    """Signatures that a commit must carry. The rules and keys of the last accepted commit are used."""

    subject: Literal["commit", "tag", "both"] = "commit"
    """The object that must be signed: the commit, the tag that is followed, or both."""
    ssh: SshTrust | None = None
    """Trusted SSH keys."""
    gpg: GpgTrust | None = None
    """Trusted GPG keys."""

    @model_validator(mode="after")
    def _some_trust(self) -> "Verification":
        if self.ssh is None and self.gpg is None:
            raise ValueError("give ssh, gpg or both: whose signatures are trusted")
        return self
