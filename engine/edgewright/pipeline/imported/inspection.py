"""Inspection of an ONNX file: what it holds, what stands in the way of importing it, and an interface to declare.

``edgewright inspect`` runs this module in a process of its own, since the file may be anybody's; ``inspect_file`` is
what it computes.
"""

import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from edgewright.durable import digest_file
from edgewright.errors import StepFailed
from edgewright.pipeline.imported import onnx_checks
from edgewright.pipeline.imported.onnx_names import read_names
from edgewright.pipeline.imported.proposal import propose
from edgewright.pipeline.imported.weight_files import bytes_needed

_BRANCHING = frozenset({"If", "Loop", "Scan"})


def inspect_file(path: Path) -> dict[str, Any]:
    """Read a file; what is wrong with it is listed, and what can be told is told all the same.

    Returns:
        What ``edgewright inspect -o json`` prints.
    """
    name = path.name
    found: dict[str, Any] = {"file": name, "sizeBytes": path.stat().st_size, "digest": digest_file(path)}
    problems: list[StepFailed] = []
    try:
        model = onnx_checks.parsed(path, name)
    except StepFailed as error:
        return {**found, "problems": [_problem(error)]}
    found |= _contents(model)
    found["externalFiles"] = list(_external(model, path.parent))
    names = read_names(path)
    found["classes"], found["features"] = list(names.classes), list(names.features)
    ends = None
    for check in (onnx_checks.check_operators, _check_opset):
        _tried(problems, check, model, name)
    if found["externalFiles"]:
        _tried(problems, _check_weights, found["externalFiles"], name)
    else:
        _tried(problems, onnx_checks.checked_file, path, name)
    if not problems:
        session = _tried(problems, onnx_checks.loaded, path, name)
        ends = session and (session.get_inputs(), session.get_outputs())
    taken = found["inputs"]
    if len(taken) != 1:
        listed = ", ".join(value["name"] for value in taken) or "none"
        problems.append(
            StepFailed(
                f"{name} has {len(taken)} inputs ({listed}); a model that is imported has exactly one",
                hint="export it with one input that holds a whole row",
            )
        )
    proposal = propose(found, model)
    return {
        **found,
        "runsIn": f"onnxruntime {onnxruntime.__version__}" if ends else None,
        "notes": list(_notes(found)),
        "problems": [_problem(each) for each in problems],
        "interface": proposal.interface,
        "unknown": list(proposal.unknown),
    }


def _tried(problems: list[StepFailed], check: Any, *arguments: Any) -> Any:
    """Run a check; what it refuses is a problem, and None is returned."""
    try:
        return check(*arguments)
    except StepFailed as error:
        problems.append(error)
        return None


def _problem(error: StepFailed) -> dict[str, str]:
    return {"message": error.message, "hint": error.hint}


def _contents(model: onnx.ModelProto) -> dict[str, Any]:
    graphs = list(onnx_checks.graphs_of(model))
    weights = {tensor.name for tensor in model.graph.initializer}
    operators = Counter(
        (node.domain or "ai.onnx", node.op_type) for owner in (*graphs, *model.functions) for node in owner.node
    )
    tensors = [tensor for graph in graphs for tensor in onnx_checks.initializers(graph)]
    tensors += [
        tensor
        for owner in (*graphs, *model.functions)
        for node in owner.node
        for tensor in onnx_checks.held_tensors(node)
    ]
    return {
        "producer": " ".join(filter(None, (model.producer_name, model.producer_version))),
        "irVersion": model.ir_version,
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "operators": [
            {"domain": domain, "name": name, "count": count}
            for (domain, name), count in sorted(operators.items(), key=lambda each: (-each[1], each[0]))
        ],
        "parameters": sum(math.prod(tensor.dims) for tensor in tensors),
        "inputs": [_end(value) for value in model.graph.input if value.name not in weights],
        "outputs": [_end(value) for value in model.graph.output],
        "metadata": {prop.key: prop.value for prop in model.metadata_props},
    }


def _end(value: onnx.ValueInfoProto) -> dict[str, Any]:
    """Describe an input or output; a size is a number, a name where any will do, or null where it has none."""
    if not value.type.HasField("tensor_type"):
        kind = (value.type.WhichOneof("value") or "unknown").removesuffix("_type")
        inner = value.type.sequence_type.elem_type.WhichOneof("value") if kind == "sequence" else None
        return {
            "name": value.name,
            "type": f"{kind} of {inner.removesuffix('_type')}s" if inner else kind,
            "shape": None,
        }
    tensor = value.type.tensor_type
    sizes = [onnx_checks.size_of(axis) or axis.dim_param or None for axis in tensor.shape.dim]
    name = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    kind = {"float": "float32", "double": "float64"}.get(name, name)
    return {"name": value.name, "type": kind, "shape": sizes if tensor.HasField("shape") else None}


def _external(model: onnx.ModelProto, folder: Path) -> Iterator[dict[str, Any]]:
    """List the files that hold weights, with what is wrong with each; none outside the model's folder is looked at."""
    for location, needed in sorted(bytes_needed(model).items()):
        path = folder / location
        described: dict[str, Any] = {"path": location, "sizeBytes": None, "digest": None, "problem": None}
        if not location or not path.resolve().is_relative_to(folder.resolve()):
            described["problem"] = "leads out of the model's folder, and is not read"
        elif not path.is_file():
            described["problem"] = "is not there"
        else:
            size = described["sizeBytes"] = path.stat().st_size
            described["digest"] = digest_file(path)
            if size < needed:
                described["problem"] = f"is cut off: {size} bytes, and weights reach to byte {needed}"
        yield described


def _check_weights(files: list[dict[str, Any]], name: str) -> None:
    wrong = [f"{each['path']} {each['problem']}" for each in files if each["problem"]]
    if wrong:
        raise StepFailed(
            f"{name} keeps weights in other files: {'; '.join(wrong)}", hint="put the whole files beside it"
        )


def _check_opset(model: onnx.ModelProto, name: str) -> None:
    newest = onnx.defs.onnx_opset_version()
    for entry in model.opset_import:
        if entry.domain in {"", "ai.onnx"} and entry.version > newest:
            raise StepFailed(
                f"{name} uses opset {entry.version}, and onnx {onnx.__version__} knows {newest} at most",
                hint="export it with an older opset; devices must know it too",
            )


def _notes(found: dict[str, Any]) -> Iterator[str]:
    branching = [each["name"] for each in found["operators"] if each["name"] in _BRANCHING]
    if branching:
        yield (
            f"holds control flow ({', '.join(branching)}): onnxruntime runs it, many accelerators do not, and what is "
            "inside stays in float when the model is quantized"
        )
    for value in found["inputs"] if len(found["inputs"]) == 1 else ():
        shape = value["shape"]
        if shape and isinstance(shape[0], int) and shape[0] != 1:
            yield f"input {value['name']} takes exactly {shape[0]} rows at once: leave the batch open, or 1"


def main() -> None:
    """Print what is in the file that the first argument names, as one JSON object."""
    # What onnxruntime's own code prints must not come between.
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, b"")
    with os.fdopen(answer, "w", encoding="utf-8") as stream:
        json.dump(inspect_file(Path(sys.argv[1])), stream)


if __name__ == "__main__":
    main()
