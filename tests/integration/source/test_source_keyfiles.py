"""Files of keys that a repository's rules name: what ssh-keygen or gpg could not read is found before it counts."""

import random
import subprocess
from pathlib import Path

import pytest

from edgewright.errors import SpecError
from edgewright.source.commits import GitSource
from edgewright.source.git.keyfiles import check_gpg, check_revoked, check_signers
from samples.repositories import FILES, HEADER, make_repository
from samples.signing_keys import SshKey, gpg_home, ssh_key

RULES = (
    HEADER
    + """kind: Repository
metadata: {name: shop}
spec:
  paths: [specs]
  verification:
    ssh: {allowedSigners: keys/allowed_signers, revoked: keys/revoked}
    gpg: {keys: keys/trusted.asc}
"""
)


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> SshKey:
    return ssh_key(tmp_path_factory.mktemp("keys"), "ada")


@pytest.fixture(scope="module")
def gpg() -> str:
    with gpg_home() as ring:
        return ring.key("file-ada").revoked()


def test_what_is_sound_is_accepted_and_what_is_not_is_said_with_its_line(tmp_path: Path, key: SshKey, gpg: str) -> None:
    files = {
        **FILES,
        "edgewright.yaml": RULES,
        "keys/allowed_signers": key.allowed(),
        "keys/revoked": f"# left us\n\n{key.public} note\n",
        "keys/trusted.asc": gpg,
    }
    GitSource(make_repository(tmp_path / "sound", files)).snapshot()
    files |= {"keys/revoked": "# left us\nnobody\n", "keys/trusted.asc": "nothing\n"}
    del files["keys/allowed_signers"]
    with pytest.raises(SpecError) as caught:
        GitSource(make_repository(tmp_path / "broken", files)).snapshot()
    assert [str(problem).partition(" (")[0] for problem in caught.value.problems] == [
        "edgewright.yaml:7:27: spec.verification.ssh.allowedSigners: keys/allowed_signers is not in this revision",
        "keys/revoked:2:1: expected a public key, found nobody",
        "keys/trusted.asc:1:1: there is no GPG public key in this file",
    ]


@pytest.mark.parametrize(
    ("line", "where", "said"),
    [
        ("ada@example.com {key} a note", None, ""),
        ('  "ada lovelace,*@example.com" cert-authority,namespaces="git,file" {key}', None, ""),
        ('ada@example.com valid-after="20200101",valid-before="20300101000000Z" {key}', None, ""),
        ("ada@example.com\t{key}\r", None, ""),
        ('"ada lovelace",*@example.com {key}', 15, "no option ''"),
        ("ada@example.com", 1, "holds no public key"),
        ("ada@example.com {short}", 17, "the ssh-ed25519 key is damaged"),
        ('ada@example.com namespace="git" {key}', 17, "no option 'namespace'"),
        ("ada@example.com namespaces=git {key}", 17, 'is written namespaces="…"'),
        ('ada@example.com cert-authority,valid-before="soon" {key}', 32, "holds no time"),
        ('ada@example.com namespaces="git"', 17, "holds no public key"),
        ("ada@example.com ssh-rsa {blob}", 17, "says that it is ssh-ed25519, not ssh-rsa"),
        ("\r", 1, "a Windows line end stands alone"),
    ],
)
def test_a_line_of_allowed_signers(tmp_path: Path, key: SshKey, line: str, where: int | None, said: str) -> None:
    blob = key.public.split()[1]
    text = "# people\n\n" + line.format(key=key.public, short=key.public[:-8], blob=blob) + "\n"
    found = check_signers("signers", text.encode())
    assert [(problem.line, problem.column) for problem in found] == ([] if where is None else [(3, where)])
    assert all(said in problem.message for problem in found)
    # What ssh-keygen makes of it: it names the lines that it cannot read.
    path, signed = tmp_path / "signers", tmp_path / "text"
    path.write_text(text + key.allowed())
    signed.write_text("text")
    subprocess.run(["ssh-keygen", "-q", "-Y", "sign", "-f", str(key.path), "-n", "git", str(signed)], check=True)
    command = ["ssh-keygen", "-Y", "find-principals", "-f", str(path), "-s", f"{signed}.sig"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (f"{path}:3:" in done.stderr) == (where is not None), done


def test_a_revoked_key_is_a_line_or_in_a_list(tmp_path: Path, key: SshKey) -> None:
    path = tmp_path / "revoked"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", path, key.path.with_suffix(".pub")], check=True)
    whole = path.read_bytes()
    assert check_revoked("revoked", whole) == []
    for broken in (whole[:-1], whole + b"x", whole[:20], b"SSHKRL\n\0garbage"):
        assert [problem.message for problem in check_revoked("revoked", broken)] == [
            "this key revocation list is damaged"
        ]
    assert check_revoked("revoked", f"  {key.public} x # y\n#z\n".encode()) == []
    for text in (key.public.split()[1], key.allowed(), "SHA256:abc", "\xff"):
        assert [problem.line for problem in check_revoked("revoked", f"\n{text}\n".encode("latin-1"))] == [2]


def test_a_file_of_gpg_keys(gpg: str) -> None:
    assert check_gpg("keys", gpg.encode()) == []
    binary = subprocess.run(["gpg", "--dearmor"], input=gpg.encode(), capture_output=True, check=True).stdout
    assert check_gpg("keys", binary) == []
    cut = "note\n" + gpg[: gpg.index("-----END")]
    assert [(p.line, p.message) for p in check_gpg("keys", cut.encode())] == [
        (2, "this block has no -----END PGP PUBLIC KEY BLOCK-----")
    ]
    for text in ("", "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nhQ==\n-----END PGP PUBLIC KEY BLOCK-----\n"):
        assert [p.message for p in check_gpg("keys", text.encode())] == ["there is no GPG public key in this file"]
    damaged = gpg.replace("\nm", "\n\xcam", 1)
    assert ["this block is damaged" in p.message for p in check_gpg("keys", damaged.encode("latin-1"))] == [True]


def test_no_damage_is_more_than_a_problem(tmp_path: Path, key: SshKey, gpg: str) -> None:
    path = tmp_path / "revoked"
    subprocess.run(["ssh-keygen", "-q", "-k", "-f", path, key.path.with_suffix(".pub")], check=True)
    chance = random.Random(1)
    for whole in (key.allowed().encode(), f"{key.public}\n".encode(), gpg.encode(), path.read_bytes()):
        for _ in range(300):
            damaged = bytearray(whole[: chance.randint(1, len(whole))])
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            for check in (check_signers, check_revoked, check_gpg):
                assert all(problem.line >= 1 and problem.message for problem in check("keys", bytes(damaged)))
