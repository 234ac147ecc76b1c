"""Configuration templates tried on the devices they are for. Called by ``validate``, which alone imports jinja2 for it.

A template that fails would otherwise do so in the middle of a rollout, at the first device without a label it names.
"""

from collections.abc import Iterator

from edgewright.core.fleet.membership import members
from edgewright.core.snapshot import Snapshot
from edgewright.errors import Problem
from edgewright.ports import SnapshotSource
from edgewright_schemas.fleet import Fleet
from edgewright_templates.devices import TemplateProblem, check_template, render_config

_SEES = "templates see device (id, labels), model, fleet and values, and nothing that is undefined"


def template_problems(source: SnapshotSource, desired: Snapshot) -> tuple[Problem, ...]:
    """Render each fleet's configuration for every device the repository lists; one problem for each thing wrong.

    Raises:
        SourceError: A template cannot be read.
        SpecError: An inventory has problems.
    """
    found: list[Problem] = []
    for resource in desired.resources.values():
        if isinstance(resource.document, Fleet):
            found.extend(_fleet_problems(source, desired, resource.document))
    return tuple(dict.fromkeys(found))


def _fleet_problems(source: SnapshotSource, desired: Snapshot, fleet: Fleet) -> Iterator[Problem]:
    config = fleet.spec.config
    if config is None:
        return
    data = source.read(desired.revision, config.template)
    try:
        text = data.decode("utf-8")
        check_template(text, config.template)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        what = f"not UTF-8: byte 0x{data[error.start]:02x}"
        yield Problem(config.template, line, 1, what, "save the file as UTF-8")
        return
    except TemplateProblem as problem:
        yield Problem(config.template, problem.line, 1, problem.message)
        return
    name = fleet.metadata.name
    models = [rollout.spec.model for rollout in desired.rollouts() if rollout.spec.fleet == name] or ["model"]
    seen: set[tuple[int, str]] = set()
    for device, labels in members(desired, fleet, {}).items():
        for model in models:
            try:
                render_config(
                    text,
                    device_id=device,
                    labels=labels,
                    model=model,
                    fleet=name,
                    values=config.values,
                    template_name=config.template,
                )
            except TemplateProblem as problem:
                if (problem.line, problem.message) not in seen:
                    seen.add((problem.line, problem.message))
                    what = f"{problem.message} (device {device} of fleet/{name})"
                    yield Problem(config.template, problem.line, 1, what, _SEES)
