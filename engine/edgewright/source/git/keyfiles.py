"""Files of trusted and revoked keys: what ssh-keygen or gpg could not read in them. Called by ``contents``.

ssh-keygen passes over a line of allowed signers that it cannot read, and nobody would learn why that signer is not
trusted; with a file of revoked keys that it cannot read, it takes every key for revoked. So whatever is wrong must be
found before the revision with such a file decides on the next one.
"""

import base64
import re
from collections.abc import Callable, Iterator

from edgewright.core.suggestions import suggestion
from edgewright.errors import Problem

KRL_MAGIC = b"SSHKRL\n\0"
"""What an OpenSSH key revocation list starts with."""
_KRL_FIXED = 36
"""Its first bytes: the above, a format, a number, a time and flags."""
_MAX_PROBLEMS = 20
"""Of one file; one in the wrong format would otherwise fill the screen."""
_KEY_HINT = "write it as in a .pub file: ssh-ed25519 AAAA…"
_SIGNER_HINT = 'write principals, options and key, as in: ada@example.com namespaces="git" ssh-ed25519 AAAA…'
_PARTS = {
    "ssh-ed25519": 2,
    "ssh-rsa": 3,
    "ssh-dss": 5,
    "ecdsa-sha2-nistp256": 3,
    "ecdsa-sha2-nistp384": 3,
    "ecdsa-sha2-nistp521": 3,
    "sk-ssh-ed25519@openssh.com": 3,
    "sk-ecdsa-sha2-nistp256@openssh.com": 4,
}
"""How many strings the key of each type consists of, with its type."""
_CERTIFICATE = re.compile(r"(sk-)?(ssh|ecdsa)-[a-z0-9-]+-cert-v01@openssh\.com")
_LIKE_TYPE = re.compile(r"(sk-|ssh-|ecdsa-)", re.I)
_WORD = re.compile(r'(?:"(?:\\"|[^"])*"|[^\s"])+')
_PRINCIPALS = re.compile(r'\s*("[^"]*"|[^\s"]+)')
_TIMES = ("valid-after", "valid-before")
_OPTIONS = ("cert-authority", "namespaces", *_TIMES)
_OPTION = re.compile(r'([A-Za-z-]+)(?:="((?:\\"|[^"])*)")?(?:,|$)')
_TIME = re.compile(r"\d{8}(?:\d{4}(?:\d{2})?)?Z?")
_ARMOR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
_ARMOR_END = "-----END PGP PUBLIC KEY BLOCK-----"
_GPG_HINT = "write it with gpg --armor --export"


def check_signers(path: str, data: bytes) -> list[Problem]:
    """Find lines that are no principals, options and public key, as in ssh-keygen(1), ALLOWED SIGNERS."""
    return _check_lines(path, data, _signer)


def check_revoked(path: str, data: bytes) -> list[Problem]:
    """Find lines that are no public key, or damage of a key revocation list."""
    if not data.startswith(KRL_MAGIC):
        return _check_lines(path, data, _revoked)
    if _is_whole_list(data):
        return []
    return [Problem(path, 1, 1, "this key revocation list is damaged", "write it with ssh-keygen -k -f")]


def _is_whole_list(data: bytes) -> bool:
    """Return whether the header and sections of a key revocation list end where the file does."""
    if data[8:12] != b"\0\0\0\1" or len(data) < _KRL_FIXED:
        return False
    at = _KRL_FIXED
    for type_size in (0, 0, *[1] * (len(data) // 5 + 1)):  # two strings, then sections: a type, and a string
        if at == len(data) and type_size:
            return True
        start = at + type_size + 4
        at = start + int.from_bytes(data[at + type_size : start], "big")
        if start > len(data) or at > len(data):
            return False
    return False


def check_gpg(path: str, data: bytes) -> list[Problem]:
    """Return whether there is a GPG public key, armored or not, and every armored block is complete."""
    if _is_public_key(data):
        return []
    lines = [line.rstrip() for line in data.decode("latin-1").split("\n")]
    starts = [number for number, line in enumerate(lines) if line == _ARMOR]
    holds_key = False
    for start in starts:
        try:
            block = lines[start + 1 : lines.index(_ARMOR_END, start)]
        except ValueError:
            return [Problem(path, start + 1, 1, f"this block has no {_ARMOR_END}", _GPG_HINT)]
        body = block[block.index("") + 1 :] if "" in block else block
        try:
            decoded = base64.b64decode("".join(line for line in body if not line.startswith("=")), validate=True)
        except ValueError as error:
            return [Problem(path, start + 1, 1, f"this block is damaged: {str(error).lower()}", _GPG_HINT)]
        holds_key = holds_key or _is_public_key(decoded)
    return [] if holds_key else [Problem(path, 1, 1, "there is no GPG public key in this file", _GPG_HINT)]


def _is_public_key(data: bytes) -> bool:
    """Check the first packet's tag, 6, in the old or new format."""
    return bool(data) and (data[0] & 0xFC == 0x98 or data[0] == 0xC6)


def _check_lines(path: str, data: bytes, check: Callable[[str], tuple[int, str, str] | None]) -> list[Problem]:
    problems: list[Problem] = []
    for number, line in enumerate(data.decode("utf-8", "replace").split("\n"), 1):
        start = len(line) - len(line.lstrip(" \t"))
        if not line[start:] or line[start] == "#":
            continue
        if not line.strip():
            found: tuple[int, str, str] | None = (0, "a Windows line end stands alone", "save it with Unix line ends")
        else:
            found = check(line.rstrip("\r"))
        if found is not None:
            problems.append(Problem(path, number, found[0] + 1, found[1], found[2]))
        if len(problems) == _MAX_PROBLEMS:
            break
    return problems


def _revoked(line: str) -> tuple[int, str, str] | None:
    start = len(line) - len(line.lstrip())
    wrong = _wrong_key(line[start:])
    return (start, wrong, f"{_KEY_HINT}; notes start with #") if wrong else None


def _signer(line: str) -> tuple[int, str, str] | None:
    principals = _PRINCIPALS.match(line)
    words = [principals, *_WORD.finditer(line, principals.end())] if principals else []
    if len(words) < 2:
        return (len(line) - len(line.lstrip()), "this line holds no public key", _SIGNER_HINT)
    first = words[1]
    is_key = _LIKE_TYPE.match(first[0]) is not None
    for at, message in () if is_key else _wrong_options(first[0]):
        return (first.start() + at, message, suggestion(message.rpartition(" ")[2].strip("'"), _OPTIONS))
    if not is_key and len(words) < 3:
        return (first.start(), "this line holds no public key", _SIGNER_HINT)
    key = words[1 if is_key else 2]
    wrong = _wrong_key(line[key.start() :])
    return (key.start(), wrong, _SIGNER_HINT) if wrong else None


def _wrong_options(text: str) -> Iterator[tuple[int, str]]:
    at, seen = 0, set()
    while at < len(text):
        found = _OPTION.match(text, at)
        name = (found[1] if found else re.split("[=,]", text[at:])[0]).lower()
        if name not in _OPTIONS:
            yield at, f"there is no option {name!r}"
            return
        if found is None or (found[2] is None) != (name == "cert-authority"):
            yield at, f"option {name} is written " + (name if name == "cert-authority" else f'{name}="…"')
            return
        if name in seen:
            yield at, f"option {name} stands twice"
        if name in _TIMES and not _TIME.fullmatch(found[2]):
            yield at, f"option {name} holds no time written YYYYMMDD or YYYYMMDDHHMMSS"
        seen.add(name)
        at = found.end()


def _wrong_key(text: str) -> str:
    """Return the error in ``type base64 [note]``; empty if it is a public key."""
    kind, _, rest = text.partition(" ") if "\t" not in text else text.replace("\t", " ").partition(" ")
    if kind not in _PARTS and not _CERTIFICATE.fullmatch(kind):
        return f"expected a public key, found {text:.40}"
    words = rest.split(maxsplit=1)
    try:
        strings = _strings(base64.b64decode(words[0] if words else "", validate=True), whole=kind in _PARTS)
    except ValueError:
        strings = []
    if not strings:
        return f"the {kind} key is damaged"
    named = strings[0].decode("latin-1")
    if named != kind:
        return f"the key says that it is {named[:40]}, not {kind}"
    return f"the {kind} key is damaged" if len(strings) != _PARTS.get(kind, 1) else ""


def _strings(data: bytes, *, whole: bool) -> list[bytes]:
    """Split what is encoded as lengths and bytes; of a certificate only the first, its type.

    Raises:
        ValueError: It ends too early.
    """
    found: list[bytes] = []
    at = 0
    while at < len(data) and (whole or not found):
        size = int.from_bytes(data[at : at + 4], "big")
        if at + 4 + size > len(data):
            raise ValueError("it ends too early")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    return found
