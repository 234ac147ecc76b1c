"""Inventory files."""

import base64

import pytest
from pydantic import ValidationError

from edgewright.source.specs.inventories import load_inventory, typed
from edgewright_schemas.fleet import Device, SshHost


def problems(data: bytes) -> list[str]:
    return [str(problem) for problem in load_inventory("f.csv", data)[1]]


def test_columns_become_labels_and_empty_cells_none() -> None:
    body, found = load_inventory("f.csv", b"\xef\xbb\xbfring, id ,store\r\ncanary,d1,\r\n\r\n, d2 ,lyon\r\n")
    assert found == []
    assert typed(body) == (Device(id="d1", labels={"ring": "canary"}), Device(id="d2", labels={"store": "lyon"}))


def test_every_bad_row_is_reported_with_its_line() -> None:
    rows = b'id,store\nd1,a\nd2\n"d 3","b\nb"\nd1,c\n,d\n'
    rule = "letters, digits, '.', '_' and '-', starting and ending with a letter or digit, at most 128 characters"
    assert problems(rows) == [
        "f.csv:3:1: expected 2 cells, found 1",
        f"f.csv:4:1: invalid id 'd 3' ({rule})",
        "f.csv:6:1: device 'd1' is listed twice (first on line 2; remove one of them)",
        f"f.csv:7:1: invalid id '' ({rule})",
    ]


def test_the_header_is_checked() -> None:
    assert problems(b"device,store\nd1,a\n") == [
        "f.csv:1:1: an inventory needs the column 'id' (the first line has: device, store)"
    ]
    assert problems(b"id,a,,a\n") == [
        "f.csv:1:1: column 'a' is there twice (rename or remove one of them)",
        "f.csv:1:1: column 3 has no name (name the label it holds)",
    ]
    assert problems(b"") == ["f.csv:1:1: an inventory needs the column 'id' (the first line has: nothing)"]


def test_columns_say_how_devices_are_reached_over_ssh() -> None:
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKxNQYj0dIwf3DO5ZJ5bDsNpEwXfhr0Uq1q9uZb7QyG4"
    rows = "id,ssh.host,ring,ssh.port,ssh.hostKey,ssh.jump\n"
    rows += f"d1,10.0.0.1,canary,2222,{key},\nd2,,,,,gate@gate.example\nd3,,,,,\n"
    body, found = load_inventory("f.csv", rows.encode())
    assert found == []
    first = SshHost.model_validate({"host": "10.0.0.1", "port": 2222, "hostKey": key})
    assert typed(body) == (
        Device(id="d1", labels={"ring": "canary"}, ssh=first),
        Device(id="d2", ssh=SshHost.model_validate({"jump": "gate@gate.example"})),
        Device(id="d3"),
    )


def test_bad_ssh_cells_are_reported_with_line_and_column() -> None:
    assert problems(b"id,ssh.port,ssh.hostKey\nd1,x,\nd2,70000,\nd3,,AAAA\nd4,-1,ssh-rsa AAAA\n") == [
        "f.csv:2:1: column 'ssh.port': 'x' is no port (a whole number from 1 to 65535)",
        "f.csv:3:1: column 'ssh.port': '70000' is no port (a whole number from 1 to 65535)",
        "f.csv:4:1: column 'ssh.hostKey': 'AAAA' is no public host key "
        "(type and key as in /etc/ssh/ssh_host_ed25519_key.pub)",
        "f.csv:5:1: column 'ssh.hostKey': 'ssh-rsa AAAA' is no public host key "
        "(type and key as in /etc/ssh/ssh_host_ed25519_key.pub)",
        "f.csv:5:1: column 'ssh.port': '-1' is no port (a whole number from 1 to 65535)",
    ]
    assert problems(b"id,ssh.hostkey,ssh.colour\nd1,a,b\n") == [
        "f.csv:1:1: column 'ssh.colour': a device has no such field below ssh "
        "(known: host, hostKey, jump, key, port, user)",
        "f.csv:1:1: column 'ssh.hostkey': a device has no such field below ssh (did you mean hostKey?)",
    ]


ED25519 = base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()


@pytest.mark.parametrize(
    "cell",
    [
        "ssh-foo AAAA",
        "ssh-ed25519 BBBB",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 ?",
        f"ssh-rsa {ED25519}",
        f"ssh-ed25519  {ED25519}",
        f"ssh-ed25519 {ED25519[:40]}",
        f"ssh-ed25519 {base64.b64encode(base64.b64decode(ED25519)[:15]).decode()}",
    ],
)
def test_a_host_key_that_no_device_can_show_is_reported(cell: str) -> None:
    (found,) = problems(f"id,ssh.hostKey\nd1,\nd2,{cell}\n".encode())
    assert found.startswith(f"f.csv:3:1: column 'ssh.hostKey': '{cell.strip()[:60]}' is no public host key (type and")
    with pytest.raises(ValidationError, match=r"no public host key|is damaged|the key says that it is ssh-ed25519"):
        SshHost.model_validate({"hostKey": cell})


def test_a_host_key_may_be_followed_by_a_comment() -> None:
    assert problems(f"id,ssh.hostKey\nd1,ssh-ed25519 {ED25519} root@d 1\n".encode()) == []


def test_broken_files() -> None:
    assert problems(b"id\nd1\n\xff\n") == ["f.csv:3:1: not UTF-8: byte 0xff (save the file as UTF-8)"]
    assert "malformed CSV" in problems(b'id\n"d1"x\n')[0]


def test_many_problems_are_cut() -> None:
    found = problems(b"id\n" + b"?\n" * 500)
    assert len(found) == 21
    assert "and " in found[-1]
