"""Weights that a model keeps in other files: pinned beside it, taken into it. ``step`` and ``inspection`` call it."""

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import onnx
from onnx.external_data_helper import load_external_data_for_model

from edgewright.errors import StepFailed
from edgewright.pipeline.dataset.locations import is_url
from edgewright.pipeline.imported.onnx_checks import graphs_of, held_tensors, initializers, listed, parsed

_LARGEST = 2**31 - 1
"""Bytes of a file in ONNX format: protobuf counts no further."""


def beside(uri: str, path: str) -> str:
    """Return the URI or repository path of a file that a model names, relative to its own folder."""
    if not is_url(uri):
        return posixpath.normpath(posixpath.join(posixpath.dirname(uri), path))
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=posixpath.join(posixpath.dirname(parts.path), path)))


def outside_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """List the tensors whose numbers are in other files."""
    graphs = list(graphs_of(model))
    held = (tensor for owner in (*graphs, *model.functions) for node in owner.node for tensor in held_tensors(node))
    for tensor in (*(each for graph in graphs for each in initializers(graph)), *held):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            yield tensor


def bytes_needed(model: onnx.ModelProto) -> dict[str, int]:
    """Count the bytes of weights in each file that a model names."""
    needed: dict[str, int] = {}
    for tensor in outside_tensors(model):
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        end = sum(int(entries[key]) for key in ("offset", "length") if entries.get(key, "").isdigit())
        needed[location] = max(needed.get(location, 0), end)
    return needed


def take_in(model_file: Path, folder: Path, declared: Mapping[str, str], origin: str) -> None:
    """Write a model again, with the weights of the files beside it.

    Args:
        model_file: The model.
        folder: Where the declared files lie, under their names.
        declared: Digest of each, as the spec pins them.
        origin: Where the model came from, for messages.

    Raises:
        StepFailed: The model names other files than are declared, one is cut off, or the whole is too large for one.
    """
    model = parsed(model_file, origin)
    needed = bytes_needed(model)
    for names, said, hint in (
        (set(needed) - set(declared), "does not name", "add it with its digest: edgewright inspect prints it"),
        (set(declared) - set(needed), "names, and the model does not,", "take it out of source.files"),
    ):
        if names:
            raise StepFailed(f"{origin}: source.files {said} {listed(sorted(names))}", hint=hint)
    total = model_file.stat().st_size
    for name, end in needed.items():
        size = (folder / name).stat().st_size
        total += size
        if size < end:
            raise StepFailed(
                f"{name}, which holds weights of {origin}, is cut off: {size} bytes, and weights reach to byte {end}",
                hint="fetch or export it again, and pin the digest of the whole file",
            )
    if total > _LARGEST:
        raise StepFailed(
            f"{origin} and its weights are {total} bytes; a model is one file of at most {_LARGEST}",
            hint="export it in float16, or a smaller one",
        )
    load_external_data_for_model(model, str(folder))
    for tensor in outside_tensors(model):
        tensor.data_location = onnx.TensorProto.DEFAULT
        del tensor.external_data[:]
    model_file.write_bytes(model.SerializeToString(deterministic=True))
