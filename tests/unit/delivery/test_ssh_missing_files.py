"""What devices lack of a payload, and where what was cut goes on."""

from hypothesis import given
from hypothesis import strategies as st

from edgewright.delivery.pushed.ssh.missing_files import Upload, plan_upload, unneeded
from edgewright.delivery.repository.depot import PayloadFile
from edgewright_wire.canonical import digest_bytes, hex_of


def file(data: bytes, name: str = "model.onnx") -> PayloadFile:
    return PayloadFile(name, digest_bytes(data), len(data), data=data)


def carry_out(upload: Upload, incoming: dict[str, bytes]) -> dict[str, bytes]:
    """Do what the device does: take the pieces, and put them together."""
    for piece in upload.send:
        incoming[piece.name] = piece.file.data[piece.offset :]
    return {digest: b"".join(incoming[name] for name in pieces) for digest, pieces in upload.brought}


def test_only_what_is_lacking_travels() -> None:
    model, labels = file(b"m" * 100), file(b"labels", "labels.json")
    upload = plan_upload([model, labels], {hex_of(model.digest): 100}, {})
    assert [piece.file.name for piece in upload.send] == ["labels.json"]
    assert upload.kept == (hex_of(model.digest),)
    assert upload.size == 6
    wrong_size = plan_upload([model], {hex_of(model.digest): 99}, {})
    assert wrong_size.size == 100


def test_two_files_of_the_same_content_travel_once() -> None:
    upload = plan_upload([file(b"same", "a"), file(b"same", "b"), file(b"", "empty")], {}, {})
    assert [(piece.file.name, piece.size) for piece in upload.send] == [("b", 4), ("empty", 0)]


@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_however_often_it_is_cut_the_whole_arrives_and_nothing_travels_twice(data: bytes, cuts: list[int]) -> None:
    wanted = file(data)
    incoming: dict[str, bytes] = {}
    travelled = 0
    for cut in cuts:
        upload = plan_upload([wanted], {}, {name: len(content) for name, content in incoming.items()})
        for piece in upload.send:
            incoming[piece.name] = data[piece.offset : piece.offset + cut]
            travelled += len(incoming[piece.name])
    upload = plan_upload([wanted], {}, {name: len(content) for name, content in incoming.items()})
    assert carry_out(upload, incoming) == {hex_of(wanted.digest): data}
    assert travelled + upload.size == len(data)


def test_pieces_that_do_not_fit_are_begun_anew() -> None:
    wanted = file(b"x" * 10)
    name = hex_of(wanted.digest)
    assert plan_upload([wanted], {}, {name: 11}).size == 10
    assert plan_upload([wanted], {}, {name: 4, f"{name}.5": 3}).size == 6
    assert plan_upload([wanted], {}, {name: 4, f"{name}.4": 6}).send == ()


def test_blobs_that_nothing_needs() -> None:
    kept, gone = file(b"kept"), file(b"gone")
    names = [hex_of(kept.digest), hex_of(gone.digest), "..", "$(reboot)"]
    assert unneeded(names, [[kept]]) == (hex_of(gone.digest),)
