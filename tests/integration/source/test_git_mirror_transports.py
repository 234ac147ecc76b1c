"""How remote repositories are reached: ssh with keys, https with a private authority, and what the environment says."""

import subprocess
from pathlib import Path

import pytest

from edgewright.errors import EdgewrightError, SourceError
from edgewright.secret import Secret
from edgewright.source.git.credentials import Credentials
from edgewright.source.mirrors import Mirror
from samples.repositories import make_repository, run_git
from servers.git_server import GitServer, ssh_server


def test_ssh_with_a_key_and_a_known_host(tmp_path: Path) -> None:
    work = make_repository(tmp_path / "work")
    with ssh_server(tmp_path / "with space") as server:
        url = server.url(work / ".git")
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "stranger"], check=True)

        def fetch(key: Path | None, known_hosts: Path, url: str = url) -> Mirror:
            credentials = Credentials(ssh_key=key, known_hosts=known_hosts)
            mirror = Mirror(url, tmp_path / "mirror", credentials, cache=None)
            mirror.fetch(())
            return mirror

        mirror = fetch(server.key, server.known_hosts)
        assert mirror.resolve(None) == run_git(work, "rev-parse", "main")
        assert mirror.source(lambda: mirror.resolve(None)).snapshot().resources
        mirror.close()
        (tmp_path / "nobody").write_text("")
        with pytest.raises(SourceError, match=r"host key .* is not known") as unknown:
            fetch(server.key, tmp_path / "nobody")
        assert "EDGEWRIGHT_GIT_KNOWN_HOSTS_FILE" in str(unknown.value)
        with pytest.raises(SourceError, match="the key in EDGEWRIGHT_GIT_SSH_KEY_FILE is not accepted"):
            fetch(tmp_path / "stranger", server.known_hosts)
        with pytest.raises(SourceError, match="there is no repository"):
            fetch(server.key, server.known_hosts, server.url(tmp_path / "nothing.git"))


def test_https_with_a_private_authority(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    work = make_repository(tmp_path / "work")
    with GitServer(tmp_path / "served", certificate=certificate, username="ada", password="pw-of-ada") as server:
        server.add(work)
        secret = Secret("pw-of-ada")
        with pytest.raises(SourceError, match=r"certificate of https://127\.0\.0\.1.* is not trusted") as caught:
            Mirror(server.url(), tmp_path / "mirror", Credentials("ada", secret), cache=None).fetch(())
        assert "EDGEWRIGHT_GIT_CA_FILE" in str(caught.value)
        mirror = Mirror(server.url(), tmp_path / "mirror", Credentials("ada", secret, ca=certificate[0]), cache=None)
        mirror.fetch(())
        assert mirror.resolve(None) == run_git(work, "rev-parse", "main")
        mirror.close()


def _certificate(folder: Path) -> tuple[Path, Path]:
    import datetime
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "edgewright test")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    paths = folder / "cert.pem", folder / "key.pem"
    paths[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    paths[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    return paths


def test_credentials_come_from_the_environment(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("abc\n")
    (tmp_path / "key").write_text("a key")
    (tmp_path / "key").chmod(0o600)
    found = Credentials.from_environment(
        {"EDGEWRIGHT_GIT_TOKEN_FILE": str(tmp_path / "token"), "EDGEWRIGHT_GIT_SSH_KEY_FILE": str(tmp_path / "key")}
    )
    assert found == Credentials("x-access-token", Secret("abc"), ssh_key=tmp_path / "key")
    assert "abc" not in repr(found)
    named = {"EDGEWRIGHT_GIT_USERNAME": "ada", "EDGEWRIGHT_GIT_PASSWORD": "pw"}
    assert Credentials.from_environment(named) == Credentials("ada", Secret("pw"))
    assert Credentials.from_environment({}) == Credentials()


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"EDGEWRIGHT_GIT_USERNAME": "ada"}, "EDGEWRIGHT_GIT_USERNAME is set without a password"),
        ({"EDGEWRIGHT_GIT_PASSWORD": "pw"}, "EDGEWRIGHT_GIT_PASSWORD is set without a user name"),
        ({"EDGEWRIGHT_GIT_PASSWORD": "pw", "EDGEWRIGHT_GIT_TOKEN": "t"}, "both EDGEWRIGHT_GIT_PASSWORD and"),
        ({"EDGEWRIGHT_GIT_TOKEN": "two\nlines"}, "more than one line"),
        ({"EDGEWRIGHT_GIT_TOKEN": " "}, "EDGEWRIGHT_GIT_TOKEN is empty"),
        ({"EDGEWRIGHT_GIT_CA_FILE": "/nowhere.pem"}, "EDGEWRIGHT_GIT_CA_FILE names /nowhere.pem, which cannot be read"),
    ],
)
def test_credentials_that_contradict_each_other(variables: dict[str, str], message: str) -> None:
    with pytest.raises(EdgewrightError) as caught:
        Credentials.from_environment(variables)
    assert message in str(caught.value)


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key")
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(SourceError, match="can be read by others"):
        Credentials.from_environment({"EDGEWRIGHT_GIT_SSH_KEY_FILE": str(tmp_path / "key")})
