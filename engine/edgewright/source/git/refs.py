"""The branches and tags of a repository, and what is followed among them. Pure. Called by ``mirrors`` and ``local``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from edgewright.core.suggestions import suggestion
from edgewright.errors import SourceError
from edgewright_schemas.environment import Follow

BRANCHES = "refs/heads/"
TAGS = "refs/tags/"
_PEELED = "^{}"
_LIKE_A_VERSION = re.compile(r"(?:v|r|rel|release|version)?[-_/]?(\d{1,9}\.\d[^/]*)\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Found:
    """The ref and commit that a follow resolves to."""

    ref: str
    """Its full name; empty for a commit."""
    object: str
    """The commit, or the annotated tag's own object."""
    commit: str

    @property
    def tag(self) -> str | None:
        """The tag's name, if it is one."""
        return self.ref.removeprefix(TAGS) if self.ref.startswith(TAGS) else None


@dataclass(frozen=True, slots=True)
class Refs:
    """The refs of a repository at one moment."""

    head: str = ""
    """The default branch's full name; empty where HEAD is detached or leads nowhere."""
    head_commit: str = ""
    """Empty: the default branch has no commit yet."""
    objects: Mapping[str, str] = field(default_factory=dict)
    """Objects by full name, of branches and tags; ``<tag>^{}`` leads to what an annotated tag is about."""

    def names(self, prefix: str) -> list[str]:
        """List the short names of branches or tags."""
        return [
            ref.removeprefix(prefix) for ref in self.objects if ref.startswith(prefix) and not ref.endswith(_PEELED)
        ]

    def branches(self, prefix: str) -> dict[str, str]:
        """List the branches whose names begin so, with their commits."""
        return {name: self.objects[BRANCHES + name] for name in self.names(BRANCHES) if name.startswith(prefix)}

    def find(self, follow: Follow | None) -> Found:
        """Find what is followed (None: the default branch).

        Raises:
            SourceError: There is no such branch, tag or version.
        """
        if follow is None:
            return self._default()
        if follow.commit is not None:
            return Found("", follow.commit, follow.commit)
        if follow.branch is not None:
            return self._named(BRANCHES, "branch", follow.branch)
        if follow.tag is not None:
            return self._named(TAGS, "tag", follow.tag)
        assert follow.semver is not None
        return self._named(TAGS, "tag", newest(follow.semver, self.names(TAGS)))

    def overlooked(self, follow: Follow | None) -> list[str]:
        """List the tags that look like newer versions in a followed range, and are none."""
        if follow is None or follow.semver is None:
            return []
        return overlooked(follow.semver, self.names(TAGS))

    def default_branch(self) -> str:
        """Name the default branch.

        Raises:
            SourceError: HEAD leads to no branch.
        """
        if not self.head:
            raise SourceError("HEAD leads to no branch", hint="name the branch to follow with --ref")
        return self.head.removeprefix(BRANCHES)

    def label(self, follow: Follow | None) -> str:
        """Return a follow as text: ``branch main``."""
        if follow is not None:
            return str(follow)
        return f"branch {self.head.removeprefix(BRANCHES)}" if self.head else "HEAD"

    def _default(self) -> Found:
        if self.head_commit:
            return Found(self.head, self.head_commit, self.head_commit)
        branches = self.names(BRANCHES)
        if not branches:
            raise SourceError("the repository has no commit yet", hint="commit something, and push it")
        what = f"the default branch {self.head.removeprefix(BRANCHES)!r}" if self.head else "its HEAD"
        raise SourceError(f"{what} has no commit", hint=f"follow a branch; {suggestion('main', branches)}")

    def _named(self, prefix: str, kind: str, name: str) -> Found:
        object_id = self.objects.get(prefix + name)
        if object_id is not None and not name.endswith(_PEELED):
            return Found(prefix + name, object_id, self.objects.get(prefix + name + _PEELED, object_id))
        known = self.names(prefix)
        other, what = (TAGS, "tag") if prefix == BRANCHES else (BRANCHES, "branch")
        if other + name in self.objects:
            hint = f"{name} is a {what}: follow it as one"
        elif not known:
            hint = f"the repository has no {'tags' if prefix == TAGS else 'branches'} yet"
        else:
            hint = suggestion(name, known)
        raise SourceError(f"there is no {kind} {name!r}", hint=hint)


def newest(wanted: str, tags: list[str]) -> str:
    """Find the newest tag in a range of semantic versions; a leading ``v`` is ignored.

    Pre-releases count only where the range names one of the same version, as npm has it.

    Raises:
        SourceError: The range cannot be read, or no tag is in it.
    """
    from semantic_version import NpmSpec, Version

    try:
        if not wanted.strip():
            raise ValueError("it is empty")
        spec = NpmSpec(wanted)
    except ValueError as error:
        hint = 'write it as in ">=1.4.0 <2.0.0", "^1.2" or "~1.4.2"'
        raise SourceError(f"{wanted!r} is no range of versions: {error}", hint=hint) from error
    versions = []
    for tag in tags:
        try:
            version = Version(tag.removeprefix("v"))
        except ValueError:
            continue
        versions.append((version.precedence_key, str(version), tag, version))
    inside = [entry for entry in versions if spec.match(entry[3])]
    if inside:
        return str(max(inside, key=lambda entry: entry[:3])[2])
    latest = max(versions, key=lambda entry: entry[:3])[2] if versions else None
    hint = f"the newest version there is: {latest}" if latest else "no tag is a semantic version, such as v1.4.0"
    if ignored := overlooked(wanted, tags):
        hint += f"; {overlooked_text(ignored)}"
    raise SourceError(f"no tag is in {wanted}", hint=hint)


def overlooked(wanted: str, tags: list[str]) -> list[str]:
    """List the tags that look like versions in a range, newer than the one it leads to, and are none; newest first."""
    from semantic_version import NpmSpec, Version

    spec = NpmSpec(wanted)
    inside, alike = [], []
    for tag in tags:
        try:
            inside.append(Version(tag.removeprefix("v")))
        except ValueError:
            if found := _LIKE_A_VERSION.match(tag):
                alike.append((Version.coerce(found[1]), tag))
    least = max((version for version in inside if spec.match(version)), default=None)
    newer = [each for each in alike if spec.match(each[0]) and (least is None or each[0] > least)]
    return [tag for _, tag in sorted(newer, reverse=True)]


def overlooked_text(tags: list[str]) -> str:
    """Describe tags that look like versions and are none, for a message."""
    from semantic_version import Version

    found = _LIKE_A_VERSION.match(tags[0])
    wanted = f"v{Version.coerce(found[1])}" if found else "v1.4.0"
    shown = ", ".join(tags[:3]) + (f" and {len(tags) - 3} more" if len(tags) > 3 else "")
    return f"not read as semantic versions: {shown} (write {wanted})"


def parse_remote(text: str) -> Refs:
    """Parse the output of ``git ls-remote --symref``.

    Raises:
        SourceError: The repository's object ids are SHA-256.
    """
    head, head_commit, refs = "", "", {}
    for line in text.splitlines():
        object_id, _, ref = line.partition("\t")
        if object_id.startswith("ref: "):
            if ref == "HEAD":
                head = object_id.removeprefix("ref: ")
            continue
        check_id(object_id)
        if ref == "HEAD":
            head_commit = object_id
        elif ref.startswith((BRANCHES, TAGS)):
            refs[ref] = object_id
    return Refs(head, head_commit, refs)


def check_id(object_id: str) -> None:
    """Reject SHA-256 ids.

    Raises:
        SourceError: It is one.
    """
    if len(object_id) == 64:
        raise SourceError("repositories with SHA-256 object ids are not supported", hint="use a SHA-1 one")
