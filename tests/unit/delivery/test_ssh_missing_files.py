"""What devices lack of a payload, and where what was cut goes on."""

from hypothesis import given
from hypothesis import strategies as st

from edgewright.delivery.pushed.ssh.missing_files import UploadPlan, plan_upload, unneeded
from edgewright.delivery.repository.depot import PayloadFile
from edgewright_wire.canonical import digest_bytes, hex_of


def file(data: bytes, name: str = "model.onnx") -> PayloadFile:
    return PayloadFile(name, digest_bytes(data), len(data), data=data)


def carry_out(plan: UploadPlan, incoming: dict[str, bytes]) -> dict[str, bytes]:
    """Do what the device does: take the pieces, and put them together."""
    for part in plan.parts:
        incoming[part.name] = part.file.data[part.offset :]
    return {digest: b"".join(incoming[name] for name in parts) for digest, parts in plan.received}


def test_only_what_is_lacking_travels() -> None:
    model, labels = file(b"m" * 100), file(b"labels", "labels.json")
    plan = plan_upload([model, labels], {hex_of(model.digest): 100}, {})
    assert [part.file.name for part in plan.parts] == ["labels.json"]
    assert plan.kept == (hex_of(model.digest),)
    assert plan.size == 6
    wrong_size = plan_upload([model], {hex_of(model.digest): 99}, {})
    assert wrong_size.size == 100


def test_two_files_of_the_same_content_travel_once() -> None:
    plan = plan_upload([file(b"same", "a"), file(b"same", "b"), file(b"", "empty")], {}, {})
    assert [(part.file.name, part.size) for part in plan.parts] == [("b", 4), ("empty", 0)]


@given(data=st.binary(max_size=60), cuts=st.lists(st.integers(0, 60), max_size=6))
def test_however_often_it_is_cut_the_whole_arrives_and_nothing_travels_twice(data: bytes, cuts: list[int]) -> None:
    wanted = file(data)
    incoming: dict[str, bytes] = {}
    travelled = 0
    for cut in cuts:
        plan = plan_upload([wanted], {}, {name: len(content) for name, content in incoming.items()})
        for part in plan.parts:
            incoming[part.name] = data[part.offset : part.offset + cut]
            travelled += len(incoming[part.name])
    plan = plan_upload([wanted], {}, {name: len(content) for name, content in incoming.items()})
    assert carry_out(plan, incoming) == {hex_of(wanted.digest): data}
    assert travelled + plan.size == len(data)


def test_pieces_that_do_not_fit_are_begun_anew() -> None:
    wanted = file(b"x" * 10)
    name = hex_of(wanted.digest)
    assert plan_upload([wanted], {}, {name: 11}).size == 10
    assert plan_upload([wanted], {}, {name: 4, f"{name}.5": 3}).size == 6
    assert plan_upload([wanted], {}, {name: 4, f"{name}.4": 6}).parts == ()


def test_blobs_that_nothing_needs() -> None:
    kept, gone = file(b"kept"), file(b"gone")
    names = [hex_of(kept.digest), hex_of(gone.digest), "..", "$(reboot)"]
    assert unneeded(names, [[kept]]) == (hex_of(gone.digest),)
