"""Verify signatures of commits and tags by git's own verification. Called by ``upstream_reader``.

The rules and the keys come from the repository itself, from a revision that was believed before. Nobody's
configuration, key ring or agent takes part: keys are written to a folder made for the one check.
"""

import re
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from edgewright.core.signatures import Signature, SignatureState
from edgewright.errors import SourceError, SpecError
from edgewright.source.git.commands import Commands, GitFailed, environment
from edgewright.source.git.keyfiles import KRL_MAGIC, check_revoked
from edgewright_schemas.environment import GpgTrust, SshTrust, Verification
from edgewright_schemas.repository import REPOSITORY_FILE, Repository

_GOOD_SSH = re.compile(r'^Good "git" signature for (?P<who>.+) with (?P<key>\S+ key \S+)$', re.M)
_SOME_SSH = re.compile(r'^Good "git" signature with (?P<key>\S+ key \S+)$', re.M)
_EXPIRED_SSH = re.compile(r"key has expired|key is not yet valid", re.I)
_GPG_STATUS = re.compile(r"^\[GNUPG:\] (?P<word>\S+)(?: (?P<rest>.*))?$", re.M)
_GPG_STATES = {
    "REVKEYSIG": SignatureState.REVOKED,
    "EXPKEYSIG": SignatureState.EXPIRED,
    "EXPSIG": SignatureState.EXPIRED,
    "BADSIG": SignatureState.BAD,
    "GOODSIG": SignatureState.GOOD,
}
_GPG_CONFIGURATION = "trust-model always\nno-autostart\nno-auto-key-retrieve\nno-auto-key-locate\nbatch\nno-tty\n"
_IMPORT_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Candidate:
    """The commit and tag to check."""

    commit: str
    followed: str
    """What led to it, in words."""
    tag: str | None
    """The name of the tag that led to it."""
    tag_object: str
    """What the tag's ref holds: a tag object, or of a lightweight tag the commit."""


def verify(
    git_dir: Path, candidate: Candidate, rules: Callable[[], Repository | None], read: Callable[[str], bytes]
) -> Signature:
    """Check a commit, the tag that led to it, or both, as the rules say.

    Args:
        git_dir: The repository that holds them.
        candidate: What to check.
        rules: Reads the Repository document that applies.
        read: Reads a file of the same revision.

    Raises:
        SourceError: The rules or keys cannot be read.
    """
    subject = f"commit {candidate.commit}"
    try:
        repository = rules()
    except SpecError as error:
        message = f"the rules for signatures cannot be read: {error}"
        raise SourceError(message, hint=f"correct {REPOSITORY_FILE}") from error
    wanted = repository.spec.verification if repository is not None else None
    if wanted is None:
        return Signature(SignatureState.NOT_REQUIRED, subject)
    with tempfile.TemporaryDirectory(prefix="edgewright-", ignore_cleanup_errors=True) as folder:
        keys = _Keys(Path(folder), wanted, read)
        findings = []
        if wanted.subject in {"tag", "both"}:
            findings.append(_tag(git_dir, candidate, keys))
        if wanted.subject in {"commit", "both"}:
            findings.append(keys.check(git_dir, "commit", candidate.commit, subject))
    return next((finding for finding in findings if not finding.accepted), findings[-1])


def _tag(git_dir: Path, candidate: Candidate, keys: "_Keys") -> Signature:
    subject = f"tag {candidate.tag}"
    if candidate.tag is None:
        detail = f"a signed tag is asked for, and {candidate.followed} is followed"
        return Signature(SignatureState.MISSING, f"commit {candidate.commit}", detail=detail)
    try:
        body = Commands().run(git_dir, "cat-file", "tag", candidate.tag_object)
        target = Commands().run(git_dir, "rev-parse", "--verify", f"{candidate.tag_object}^{{commit}}").strip()
    except GitFailed:
        return Signature(SignatureState.MISSING, subject, detail="it is no annotated tag")
    # A tag that was signed under another name must not pass for this one: 1.0.0 offered as 9.9.9 is a step back.
    named = re.search(r"^tag (.*)$", body.split("\n\n", 1)[0], re.M)
    if named is None or named[1] != candidate.tag:
        signed = named[1] if named else "?"
        return Signature(SignatureState.BAD, subject, detail=f"the tag was made under the name {signed}")
    if target != candidate.commit:
        return Signature(SignatureState.BAD, subject, detail=f"it leads to commit {target}")
    return keys.check(git_dir, "tag", candidate.tag_object, subject)


class _Keys:
    """Trusted keys, written to a folder for one check."""

    def __init__(self, folder: Path, wanted: Verification, read: Callable[[str], bytes]) -> None:
        self._folder = folder
        self._wanted = wanted
        self._home = folder / "gnupg"
        self._home.mkdir(mode=0o700)
        (self._home / "gpg.conf").write_text(_GPG_CONFIGURATION)
        signers = folder / "allowed_signers"
        signers.write_bytes(b"")
        self._settings = {
            "gpg.program": "gpg",
            "gpg.x509.program": "false",
            "gpg.ssh.program": "ssh-keygen",
            "gpg.minTrustLevel": "undefined",
            "gpg.ssh.allowedSignersFile": str(signers),
        }
        self._revoked: Path | None = None
        if wanted.ssh is not None:
            self._ssh(wanted.ssh, signers, read)
        if wanted.gpg is not None:
            self._gpg(wanted.gpg, read)

    def _ssh(self, trust: SshTrust, signers: Path, read: Callable[[str], bytes]) -> None:
        signers.write_bytes(_file(trust.allowed_signers, read))
        if trust.revoked is not None:
            self._revoked = self._folder / "revoked"
            self._revoked.write_bytes(_file(trust.revoked, read))

    def _gpg(self, trust: GpgTrust, read: Callable[[str], bytes]) -> None:
        keys = _file(trust.keys, read)
        command = ["gpg", "--homedir", str(self._home), "--batch", "--no-tty", "--status-fd", "1", "--import"]
        try:
            done = subprocess.run(
                command, input=keys, capture_output=True, check=False, env=environment(), timeout=_IMPORT_SECONDS
            )
        except FileNotFoundError as error:
            raise SourceError("the gpg program is not installed", hint="install gnupg") from error
        except subprocess.TimeoutExpired as error:
            raise SourceError(f"gpg does not end reading {trust.keys}", hint="make the file smaller") from error
        if b"IMPORT_OK" not in done.stdout:
            raise SourceError(f"{trust.keys} holds no GPG public keys", hint="write it with gpg --armor --export")

    def check(self, git_dir: Path, kind: str, name: str, subject: str) -> Signature:
        """Verify a commit or tag object."""
        body = Commands().run(git_dir, "cat-file", kind, name)
        form = _form(body, kind)
        if form == "":
            return Signature(SignatureState.MISSING, subject)
        is_good, said = self._git(git_dir, kind, name, self._settings)
        if form == "ssh" and self._wanted.ssh is not None:
            found = _read_ssh(is_good, said, subject)
            if self._revoked is None or found.state is SignatureState.BAD:
                return found
            settings = self._settings | {"gpg.ssh.revocationFile": str(self._revoked)}
            still_good, why = self._git(git_dir, kind, name, settings)
            if still_good or _SOME_SSH.search(why):
                return found
            # To ssh-keygen every key is revoked by a file that it cannot read, and git does not pass on why.
            _refuse_unreadable(self._wanted.ssh.revoked or "", self._revoked)
            return replace(found, state=SignatureState.REVOKED)
        if form == "gpg" and self._wanted.gpg is not None:
            return _read_gpg(is_good, said, subject)
        kinds = " and ".join(n for n, trust in (("SSH", self._wanted.ssh), ("GPG", self._wanted.gpg)) if trust)
        detail = f"it is no {kinds} signature" if form == "other" else f"only {kinds} signatures are trusted"
        return Signature(SignatureState.UNKNOWN, subject, f"an {form.upper()} key" if form != "other" else "?", detail)

    def _git(self, git_dir: Path, kind: str, name: str, settings: dict[str, str]) -> tuple[bool, str]:
        # Commands keeps stderr only of what fails; of a good signature it says whose it is.
        variables = environment(settings) | {"GNUPGHOME": str(self._home)}
        done = subprocess.run(
            ["git", "--git-dir", str(git_dir), f"verify-{kind}", "--raw", name],
            cwd=git_dir,
            env=variables,
            capture_output=True,
            check=False,
            timeout=_IMPORT_SECONDS,
        )
        return done.returncode == 0, done.stderr.decode("utf-8", "replace").strip()


def _file(path: str, read: Callable[[str], bytes]) -> bytes:
    try:
        return read(path)
    except SourceError as error:
        message = f"the file of trusted keys cannot be read: {error.message}"
        raise SourceError(
            message, hint=error.hint or f"commit it, or correct spec.verification in {REPOSITORY_FILE}"
        ) from error


def _refuse_unreadable(name: str, path: Path) -> None:
    """Check the file of revoked keys at ``path``, whose name in the repository is ``name``.

    Raises:
        SourceError: ssh-keygen cannot read it.
    """
    data = path.read_bytes()
    said = "; ".join(str(problem) for problem in check_revoked(name, data))
    if not said and data.startswith(KRL_MAGIC):
        command = ["ssh-keygen", "-Q", "-l", "-f", str(path)]
        done = subprocess.run(command, capture_output=True, check=False, env=environment(), timeout=_IMPORT_SECONDS)
        said = f"{name}: {_reason(done.stderr.decode('utf-8', 'replace'))}" if done.returncode else ""
    if said:
        message = f"the file of revoked keys cannot be read, so no SSH signature is accepted: {said}"
        raise SourceError(message, hint=f"correct {name}")


def _form(body: str, kind: str) -> str:
    """Return the format of an object's signature: ``ssh``, ``gpg``, ``other``, or empty where there is none."""
    head, _, text = body.partition("\n\n")
    if kind == "commit":
        found = re.search(r"^gpgsig(?:-sha256)? (-----BEGIN .*)$", head, re.M)
    else:
        found = re.search(r"^(-----BEGIN (?:SSH|PGP) SIGNATURE-----|-----BEGIN .*-----)$", text, re.M)
    if found is None:
        return ""
    forms = {"-----BEGIN SSH SIGNATURE-----": "ssh", "-----BEGIN PGP SIGNATURE-----": "gpg"}
    return forms.get(found[1], "gpg" if found[1] == "-----BEGIN PGP MESSAGE-----" else "other")


def _read_ssh(is_good: bool, said: str, subject: str) -> Signature:
    good, some = _GOOD_SSH.search(said), _SOME_SSH.search(said)
    if is_good and good is not None:
        return Signature(SignatureState.GOOD, subject, f"{good['who']} ({good['key']})")
    signer = some["key"] if some is not None else ""
    if _EXPIRED_SSH.search(said):
        return Signature(SignatureState.EXPIRED, subject, signer)
    if "namespace" in said:
        return Signature(SignatureState.UNKNOWN, subject, signer or "?", "the key is allowed for other purposes only")
    if some is not None:
        return Signature(SignatureState.UNKNOWN, subject, signer)
    return Signature(SignatureState.BAD, subject, detail=_reason(said))


def _read_gpg(is_good: bool, said: str, subject: str) -> Signature:
    statuses = [(found["word"], found["rest"] or "") for found in _GPG_STATUS.finditer(said)]
    words = [word for word, _ in statuses]
    values = dict(statuses)
    fingerprint = values.get("VALIDSIG", "").partition(" ")[0]
    if words.count("NEWSIG") > 1:
        return Signature(SignatureState.BAD, subject, detail="it carries more than one signature")
    for word, state in _GPG_STATES.items():
        if word in values:
            key, _, user = values[word].partition(" ")
            signer = f"{user} ({fingerprint or key})"
            if state is SignatureState.GOOD and not (is_good and fingerprint):
                return Signature(SignatureState.BAD, subject, signer, _reason(said))
            return Signature(state, subject, signer)
    if "NO_PUBKEY" in values:
        rest = values.get("ERRSIG", "").split()
        return Signature(SignatureState.UNKNOWN, subject, rest[6] if len(rest) > 6 else values["NO_PUBKEY"])
    return Signature(SignatureState.BAD, subject, detail=_reason(said))


def _reason(said: str) -> str:
    lines = [line for line in said.splitlines() if line and not line.startswith("[GNUPG:]")]
    return lines[-1] if lines else ""
