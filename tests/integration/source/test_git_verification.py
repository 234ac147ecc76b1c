"""Whose signature a revision must carry: real keys, real git, real gpg."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from edgewright.core.signatures import Signature, SignatureState
from edgewright.errors import SourceError
from edgewright.source.git.credentials import Credentials
from edgewright.source.local import LocalUpstream
from edgewright.source.mirrors import Mirror
from edgewright_schemas.environment import Follow
from samples.repositories import FILES, commit, make_repository, run_git, write
from samples.signing_keys import GpgHome, SshKey, gpg_home, ssh_key
from servers.git_server import GitServer

MAIN = Follow(branch="main")
SSH = "ssh: {allowedSigners: keys/allowed_signers}"
SSH_REVOKED = "ssh: {allowedSigners: keys/allowed_signers, revoked: keys/revoked}"
GPG = "gpg: {keys: keys/trusted.asc}"


def declared(verification: str) -> str:
    return f"""apiVersion: edgewright.dev/v1alpha1
kind: Repository
metadata: {{name: shop}}
spec:
  paths: [specs]
  verification: {{{verification}}}
"""


class Signed:
    """A repository that asks for signatures, and an upstream that follows it."""

    def __init__(self, folder: Path) -> None:
        self.work = make_repository(folder / "work", FILES)
        self.upstream = LocalUpstream(self.work, folder / "state", cache=None)

    def ask(self, verification: str, **files: str) -> None:
        write(self.work, {"edgewright.yaml": declared(verification)})
        write(self.work, {f"keys/{name.replace('__', '.')}": text for name, text in files.items()})

    def check(self, candidate: str, trusted: str | None = None, follow: Follow = MAIN) -> Signature:
        self.upstream.fetch((follow,))
        return self.upstream.check(follow, candidate, trusted)


@pytest.fixture
def signed(tmp_path: Path) -> Iterator[Signed]:
    signed = Signed(tmp_path)
    yield signed
    signed.upstream.close()


@pytest.fixture
def ada(tmp_path: Path) -> SshKey:
    return ssh_key(tmp_path / "keys", "ada")


@pytest.fixture
def eve(tmp_path: Path) -> SshKey:
    return ssh_key(tmp_path / "keys", "eve")


@pytest.fixture(scope="module")
def ring() -> Iterator[GpgHome]:
    with gpg_home() as home:
        yield home


def test_a_commit_signed_with_a_trusted_ssh_key(signed: Signed, ada: SshKey) -> None:
    signed.ask(SSH, allowed_signers=ada.allowed())
    found = signed.check(ada.commit(signed.work))
    assert found.state is SignatureState.GOOD
    assert found.accepted
    assert "is signed by ada@example.com (ED25519 key SHA256:" in str(found)


def test_commits_that_are_not_signed_or_by_a_stranger(signed: Signed, ada: SshKey, eve: SshKey) -> None:
    signed.ask(SSH, allowed_signers=ada.allowed())
    trusted = ada.commit(signed.work)
    assert signed.check(commit(signed.work), trusted).state is SignatureState.MISSING
    found = signed.check(eve.commit(signed.work), trusted)
    assert found.state is SignatureState.UNKNOWN
    assert "SHA256:" in found.signer


def test_a_signature_moved_to_another_commit_is_bad(signed: Signed, ada: SshKey) -> None:
    signed.ask(SSH, allowed_signers=ada.allowed())
    trusted = ada.commit(signed.work, "honest")
    body = run_git(signed.work, "cat-file", "commit", trusted).replace("honest", "hostile") + "\n"
    (signed.work / "forged").write_text(body)
    forged = run_git(signed.work, "hash-object", "-t", "commit", "-w", "forged")
    assert signed.check(forged, trusted).state is SignatureState.BAD


def test_a_key_for_another_purpose_is_not_trusted(signed: Signed, ada: SshKey) -> None:
    signed.ask(SSH, allowed_signers=ada.allowed('namespaces="file"'))
    assert signed.check(ada.commit(signed.work)).state is SignatureState.UNKNOWN


def test_an_expired_ssh_key(signed: Signed, ada: SshKey) -> None:
    signed.ask(SSH, allowed_signers=ada.allowed('valid-before="20200101"'))
    assert signed.check(ada.commit(signed.work)).state is SignatureState.EXPIRED


@pytest.mark.parametrize("as_list", [False, True])
def test_a_revoked_ssh_key(signed: Signed, ada: SshKey, eve: SshKey, as_list: bool) -> None:
    signed.ask(SSH_REVOKED, allowed_signers=ada.allowed() + eve.allowed(), revoked=eve.public + "\n")
    if as_list:
        path = signed.work / "keys/revoked"
        subprocess.run(["ssh-keygen", "-q", "-k", "-f", path, eve.path.with_suffix(".pub")], check=True)
    trusted = ada.commit(signed.work)
    assert signed.check(trusted).state is SignatureState.GOOD
    found = signed.check(eve.commit(signed.work), trusted)
    assert found.state is SignatureState.REVOKED
    assert "eve@example.com" in str(found)


@pytest.mark.parametrize("revoked", ["{eve}\nnobody\n", "\0"])
def test_a_file_of_revoked_keys_that_cannot_be_read_revokes_nobody(
    signed: Signed, ada: SshKey, eve: SshKey, revoked: str
) -> None:
    signed.ask(SSH_REVOKED, allowed_signers=ada.allowed(), revoked=revoked.format(eve=eve.public))
    if revoked == "\0":
        (signed.work / "keys/revoked").write_bytes(b"SSHKRL\n\0garbage")
    with pytest.raises(SourceError, match=r"cannot be read, so no SSH signature is accepted: keys/revoked:\d:1: "):
        signed.check(ada.commit(signed.work))


def test_rules_and_keys_are_those_of_the_trusted_revision(signed: Signed, ada: SshKey, eve: SshKey) -> None:
    signed.ask(SSH, allowed_signers=ada.allowed())
    trusted = ada.commit(signed.work)
    signed.ask(SSH, allowed_signers=ada.allowed() + eve.allowed())
    let_in = eve.commit(signed.work)
    assert signed.check(let_in, trusted).state is SignatureState.UNKNOWN
    assert signed.check(let_in, None).state is SignatureState.GOOD
    (signed.work / "edgewright.yaml").unlink()
    assert signed.check(commit(signed.work), trusted).state is SignatureState.MISSING
    removed = ada.commit(signed.work)
    assert signed.check(removed, trusted).state is SignatureState.GOOD
    assert signed.check(commit(signed.work), removed).state is SignatureState.NOT_REQUIRED


def test_the_tag_that_is_followed(signed: Signed, ada: SshKey, eve: SshKey) -> None:
    signed.ask(f"subject: tag, {SSH}", allowed_signers=ada.allowed())
    revision = commit(signed.work)
    ada.tag(signed.work, "v1.0.0")
    eve.tag(signed.work, "v1.1.0")
    run_git(signed.work, "tag", "v1.2.0")
    run_git(signed.work, "tag", "-a", "v1.3.0", "-m", "x")
    states = {
        name: signed.check(revision, follow=Follow(tag=name)).state for name in ("v1.0.0", "v1.1.0", "v1.2.0", "v1.3.0")
    }
    assert states == {
        "v1.0.0": SignatureState.GOOD,
        "v1.1.0": SignatureState.UNKNOWN,
        "v1.2.0": SignatureState.MISSING,
        "v1.3.0": SignatureState.MISSING,
    }
    assert signed.check(revision, follow=Follow(semver="<1.1.0")).state is SignatureState.GOOD
    branch = signed.check(revision)
    assert branch.state is SignatureState.MISSING
    assert "branch main is followed" in str(branch)


def test_an_old_tag_under_a_new_name_is_refused(signed: Signed, ada: SshKey) -> None:
    signed.ask(f"subject: tag, {SSH}", allowed_signers=ada.allowed())
    old = commit(signed.work)
    ada.tag(signed.work, "v1.0.0")
    run_git(signed.work, "update-ref", "refs/tags/v9.0.0", run_git(signed.work, "rev-parse", "v1.0.0"))
    found = signed.check(old, follow=Follow(semver="*"))
    assert found.state is SignatureState.BAD
    assert "made under the name v1.0.0" in str(found)


def test_both_the_commit_and_the_tag(signed: Signed, ada: SshKey) -> None:
    signed.ask(f"subject: both, {SSH}", allowed_signers=ada.allowed())
    ada.commit(signed.work)
    ada.tag(signed.work, "v1.0.0")
    first = run_git(signed.work, "rev-parse", "HEAD")
    assert signed.check(first, follow=Follow(tag="v1.0.0")).state is SignatureState.GOOD
    second = commit(signed.work)
    ada.tag(signed.work, "v1.1.0")
    found = signed.check(second, follow=Follow(tag="v1.1.0"))
    assert (found.state, found.subject) == (SignatureState.MISSING, f"commit {second}")


def test_gpg_signatures_of_commits_and_tags(signed: Signed, ring: GpgHome) -> None:
    ada, eve = ring.key("gpg-ada"), ring.key("gpg-eve")
    signed.ask(f"subject: both, {GPG}", trusted__asc=ada.public())
    good = ada.commit(signed.work)
    ada.tag(signed.work, "v1.0.0")
    eve.tag(signed.work, "v1.1.0")
    found = signed.check(good, follow=Follow(tag="v1.0.0"))
    assert found.state is SignatureState.GOOD
    assert f"gpg-ada <gpg-ada@example.com> ({ada.fingerprint})" in str(found)
    stranger = signed.check(good, follow=Follow(tag="v1.1.0"))
    assert (stranger.state, stranger.signer) == (SignatureState.UNKNOWN, eve.fingerprint)


def test_gpg_keys_that_are_revoked_or_expired(signed: Signed, ring: GpgHome) -> None:
    ada, old = ring.key("gpg-bea"), ring.key("gpg-old", at="20200101T000000", days="1d")
    signed.ask(GPG, trusted__asc=ada.public() + old.public())
    trusted = ada.commit(signed.work)
    assert signed.check(trusted).state is SignatureState.GOOD
    assert signed.check(old.commit(signed.work), trusted).state is SignatureState.EXPIRED
    signed.ask(GPG, trusted__asc=ada.revoked())
    revoking = ada.commit(signed.work)
    assert signed.check(revoking, trusted).state is SignatureState.GOOD
    assert signed.check(ada.commit(signed.work), revoking).state is SignatureState.REVOKED


def test_the_users_own_configuration_and_keys_take_no_part(
    signed: Signed, ring: GpgHome, ada: SshKey, eve: SshKey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stranger = ring.key("gpg-cat")
    (tmp_path / "all").write_text(eve.allowed())
    accepting = tmp_path / "accepting"
    accepting.write_text("#!/bin/sh\necho '[GNUPG:] GOODSIG x y' >&2\nexit 0\n")
    accepting.chmod(0o755)
    config = tmp_path / "gitconfig"
    config.write_text(f'[gpg]\n program={accepting}\n[gpg "ssh"]\n allowedSignersFile={tmp_path}/all\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GNUPGHOME", str(ring.home))
    signed.ask(f"{SSH}, {GPG}", allowed_signers=ada.allowed(), trusted__asc=ring.key("gpg-dan").public())
    candidates = eve.commit(signed.work), stranger.commit(signed.work)
    run_git(signed.work, "config", "gpg.program", str(accepting))
    run_git(signed.work, "config", "gpg.ssh.program", str(accepting))
    assert [signed.check(each).state for each in candidates] == [SignatureState.UNKNOWN] * 2


def test_only_the_kind_of_key_that_is_named(signed: Signed, ring: GpgHome, ada: SshKey) -> None:
    signed.ask(SSH, allowed_signers=ada.allowed())
    found = signed.check(ring.key("gpg-fay").commit(signed.work))
    assert found.state is SignatureState.UNKNOWN
    assert "only SSH signatures are trusted" in str(found)


def test_keys_that_cannot_be_read(signed: Signed, ada: SshKey) -> None:
    signed.ask(SSH)
    with pytest.raises(SourceError, match="keys/allowed_signers is not in this revision"):
        signed.check(ada.commit(signed.work))
    signed.ask(GPG, trusted__asc="nothing")
    with pytest.raises(SourceError, match="holds no GPG public keys"):
        signed.check(ada.commit(signed.work))
    write(signed.work, {"edgewright.yaml": declared("subject: commti")})
    with pytest.raises(SourceError, match=r"rules for signatures cannot be read: edgewright.yaml:6:"):
        signed.check(ada.commit(signed.work))


def test_nothing_is_left_of_a_check(
    signed: Signed, ring: GpgHome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(scratch))
    key = ring.key("gpg-gus")
    signed.ask(GPG, trusted__asc=key.public())
    assert signed.check(key.commit(signed.work)).accepted
    assert list(scratch.iterdir()) == []
    agents = [line for line in Path("/proc").glob("[0-9]*/cmdline") if str(scratch).encode() in _read(line)]
    assert agents == []


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_a_mirror_checks_the_tags_it_fetched(signed: Signed, ada: SshKey, tmp_path: Path) -> None:
    signed.ask(f"subject: both, {SSH}", allowed_signers=ada.allowed())
    revision = ada.commit(signed.work)
    ada.tag(signed.work, "v1.0.0")
    with GitServer(tmp_path / "served") as server:
        server.add(signed.work)
        mirror = Mirror(server.url(), tmp_path / "mirror", Credentials(), cache=None)
        follow = Follow(semver="^1.0")
        mirror.fetch((follow,))
        assert mirror.resolve(follow) == revision
        assert mirror.check(follow, revision, None).state is SignatureState.GOOD
        mirror.close()
