"""``edgewright inspect``: show what an ONNX file holds, and an interface to declare for it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgewright.cli.console import print_json, stderr, stdout
from edgewright.cli.options import Exit, Output, OutputOption
from edgewright.cli.workspaces import inspect_onnx
from edgewright.render.quantities import bytes_text, count_text

_SHOWN = 12
_LONGEST = 120


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("inspect", epilog="Example: edgewright inspect models/reader.onnx")(inspect)


def inspect(
    file: Annotated[Path, typer.Argument(help="An ONNX file.", show_default=False)],
    output: OutputOption = Output.TEXT,
) -> None:
    """Show inputs, outputs and operators of an ONNX file, and an interface to paste into a Model.

    What no file tells, such as the mean of its pictures, is listed for you to add. Exit code 0 when the file can be
    imported, 1 otherwise. The file is read in a process of its own, and nothing but it and its weights is.
    """
    found = inspect_onnx(file)
    if output is Output.JSON:
        print_json(found)
    else:
        _print(file, found)
    if found["problems"]:
        raise typer.Exit(Exit.ERROR)


def _print(file: Path, found: Mapping[str, Any]) -> None:
    console = stdout()
    for name, text in _lines(found):
        console.print(f"{name:<11} {text}")
    for note in found.get("notes", ()):
        console.print(f"note: {note}")
    if found.get("runsIn") and not found["problems"]:
        console.print(f"\nspec of a Model (it runs in {found['runsIn']}):\n")
        console.print(_yaml(file, found))
    for each in found.get("unknown", ()):
        console.print(f"not told: {each}")
    for problem in found["problems"]:
        stderr().print(f"error: {problem['message']}", style="red")
        if problem["hint"]:
            stderr().print(f"  {problem['hint']}")


def _lines(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "size", bytes_text(found["sizeBytes"])
    yield "digest", found["digest"]
    if "opsets" not in found:
        return
    if found["producer"]:
        yield "producer", found["producer"]
    yield "opset", ", ".join(f"{domain} {version}" for domain, version in found["opsets"].items())
    yield "weights", count_text(found["parameters"], "number")
    for each in found["externalFiles"]:
        yield "in file", f"{each['path']}: {each['problem'] or bytes_text(each['sizeBytes'])}"
    for kind in ("input", "output"):
        for each in found[f"{kind}s"]:
            shape = "" if each["shape"] is None else f" {_shape(each['shape'])}"
            yield kind, f"{each['name']}: {each['type']}{shape}"
    operators = [_operator(each) for each in found["operators"]]
    more = f" and {len(operators) - _SHOWN} more kinds" if len(operators) > _SHOWN else ""
    yield "operators", ", ".join(operators[:_SHOWN]) + more
    if found["classes"]:
        yield "classes", _cut(", ".join(found["classes"]))
    for key, value in found["metadata"].items():
        yield "metadata", f"{key}: {_cut(' '.join(value.split()))}"


def _operator(each: Mapping[str, Any]) -> str:
    domain = "" if each["domain"] == "ai.onnx" else f"{each['domain']}."
    return f"{domain}{each['name']} × {each['count']}"


def _shape(sizes: list[int | str | None]) -> str:
    return f"({', '.join('?' if size is None else str(size) for size in sizes)})"


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text)} characters)"


def _yaml(file: Path, found: Mapping[str, Any]) -> str:
    weights = [f"{{path: {each['path']}, digest: {each['digest']}}}" for each in found["externalFiles"]]
    files = f", files: [{', '.join(weights)}]" if weights else ""
    lines = [f"  source: {{uri: {file}, digest: {found['digest']}{files}}}"]
    declared = found["interface"]
    if declared:
        lines.append("  interface:")
        if "input" in declared:
            inner = ", ".join(f"{key}: {value}" for key, value in declared["input"].items())
            lines.append(f"    input: {{{inner}}}")
        if "outputs" in declared:
            inner = ", ".join(f"{role}: {name}" for role, name in declared["outputs"].items())
            lines.append(f"    outputs: {{{inner}}}")
        lines += [f"    {key}: {declared[key]}" for key in ("output", "decoder", "classes") if key in declared]
    return "\n".join(lines)
