"""Inventory files."""

from edgewright.source.inventories import load_inventory, typed
from edgewright_schemas.fleet import Device


def problems(data: bytes) -> list[str]:
    return [str(problem) for problem in load_inventory("f.csv", data)[1]]


def test_columns_become_labels_and_empty_cells_none() -> None:
    body, found = load_inventory("f.csv", b"\xef\xbb\xbfring, id ,store\r\ncanary,d1,\r\n\r\n, d2 ,lyon\r\n")
    assert found == []
    assert typed(body) == (Device(id="d1", labels={"ring": "canary"}), Device(id="d2", labels={"store": "lyon"}))


def test_every_bad_row_is_reported_with_its_line() -> None:
    rows = b'id,store\nd1,a\nd2\n"d 3","b\nb"\nd1,c\n,d\n'
    rule = "letters, digits, '.', '_' and '-', starting and ending with a letter or digit, at most 128 of them"
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


def test_broken_files() -> None:
    assert problems(b"id\nd1\n\xff\n") == ["f.csv:3:1: not UTF-8: byte 0xff (save the file as UTF-8)"]
    assert "malformed CSV" in problems(b'id\n"d1"x\n')[0]


def test_many_problems_are_cut() -> None:
    found = problems(b"id\n" + b"?\n" * 500)
    assert len(found) == 21
    assert "and " in found[-1]
