"""Previews of pull requests as the one comment that says everything; cut so that the forge takes it."""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from edgewright.core.review.findings import ReviewWarning
from edgewright.core.review.previews import EnvironmentPreview, PreviewReport
from edgewright.errors import Problem
from edgewright.render.plan_markdown import finding_values, plan_values
from edgewright.render.plan_words import counts_text, summary_text
from edgewright.render.quantities import count_text, short
from edgewright_templates.inert import Markdown, code, inert, join

T = TypeVar("T")
MARKER = "<!-- edgewright:preview -->"
"""What the comment is found again by; nothing that comes from outside can end or repeat it."""
NO_LIMIT = 1 << 40
_LONG = 8
"""Steps that are shown without folding them away."""
_EMPTY_LINES = re.compile(r"\n{3,}")
_CUT = "\n\n… cut to what the forge takes.\n"


def preview_markdown(report: PreviewReport, limit: int = NO_LIMIT) -> str:
    """Write a report as a comment of at most ``limit`` characters.

    What does not fit is left out in this order, and counted: entries of plans, problems and conflicts; findings;
    environments.
    """
    longest = _longest(report)
    found = _largest(longest, limit, lambda entries: _render(report, entries, None))
    if found is None:
        found = _largest(longest, limit, lambda entries: _render(report, 0, entries))
    return found if found is not None else _cut(_render(report, 0, 0), limit)


def marker(folder: str) -> str:
    """Return what the comment about the specs in a folder of the repository is found again by."""
    if not folder:
        return MARKER
    return MARKER.replace(" -->", f" {quote(folder).replace('--', '-%2D')} -->")


def description_text(report: PreviewReport) -> str:
    """Write a report in the words of a commit status."""
    if report.conflicts:
        return f"conflicts with {report.base} in {count_text(len(report.conflicts), 'path')}"
    if problems := {problem for environment in report.environments for problem in environment.problems}:
        return f"{count_text(len(problems), 'problem')} in the specs"
    if not report.environments:
        return f"no environment follows {report.base}"
    if report.verdict == "failure":
        return "not signed as the repository asks"
    warnings = {finding for finding in _findings(report) if finding.severity == "warning"}
    parts = [_brief(environment) for environment in report.environments]
    said = f"; {count_text(len(warnings), 'warning')}" if warnings else ""
    return "; ".join(parts) + said


def _brief(environment: EnvironmentPreview) -> str:
    what = counts_text(environment.plan) if environment.plan is not None else "could not be planned"
    return f"{environment.environment}: {what}" if environment.environment else what


# ── fitting ───────────────────────────────────────────────────────────────────────────────────────────────────


def _longest(report: PreviewReport) -> int:
    """Count the entries of the longest list a report has."""
    lengths = [len(report.conflicts), len(_findings(report))]
    for environment in report.environments:
        lengths.append(len(environment.problems))
        if environment.plan is not None:
            plan = environment.plan
            lengths += [len(plan.steps), len(plan.notes), *map(len, plan.verdicts.values()), len(plan.verdicts)]
    return max(lengths)


def _largest(longest: int, limit: int, render: Callable[[int], str]) -> str | None:
    """Find the text with the most entries that fits; None when even that without any does not."""
    whole = render(longest)
    if len(whole) <= limit:
        return whole
    found, low, high = None, 0, longest
    while low < high:
        middle = (low + high) // 2
        text = render(middle)
        if len(text) <= limit:
            found, low = text, middle + 1
        else:
            high = middle
    return found


def _cut(text: str, limit: int) -> str:
    """Cut between lines; only where nothing is folded, so that nothing stays open."""
    if len(text) <= limit:
        return text
    return text[: max(0, limit - len(_CUT))].rpartition("\n")[0] + _CUT


# ── values for the template ───────────────────────────────────────────────────────────────────────────────────


def _render(report: PreviewReport, entries: int, warnings: int | None) -> str:
    from edgewright_templates.markdown import render_report

    findings = _grouped((e.environment, f) for e in report.environments for f in e.findings)
    problems = _grouped((e.environment, p) for e in report.environments for p in e.problems)
    count = len(findings) if warnings is None else warnings
    everyone = len(report.environments)
    values: dict[str, Any] = {
        "marker": Markdown(marker(report.folder)),
        "folder": report.folder,
        "headline": _headline(report),
        "base": report.base,
        "problems": [_problem(problem, _where(where, everyone)) for problem, where in problems[:entries]],
        "problems_words": f"{count_text(len(problems), 'problem')} in the specs, as they would be after the merge:",
        "more_problems": _more(len(problems), entries),
        "conflicts": report.conflicts[:entries],
        "more_conflicts": _more(len(report.conflicts), entries),
        "findings": [finding_values(finding, _where(where, everyone)) for finding, where in findings[:count]],
        "more_findings": _more(len(findings), count),
        "environments": [_environment(report, environment, entries) for environment in report.environments],
        "remarks": report.remarks,
        "computed": _computed(report),
        "command": report.command,
    }
    text = render_report("preview", values)
    lines = "\n".join(line.rstrip() for line in text.splitlines())
    return _EMPTY_LINES.sub("\n\n", lines) + "\n"


def _headline(report: PreviewReport) -> str:
    if report.conflicts:
        return "this cannot be merged as it is"
    if any(environment.problems for environment in report.environments):
        return "the specs would be wrong"
    if not report.environments:
        return "merging this changes nothing here"
    if any(environment.plan is None for environment in report.environments):
        return "what merging this would do could not be computed"
    if all(environment.plan is not None and environment.plan.empty for environment in report.environments):
        warned = any(finding.severity == "warning" for finding in _findings(report))
        return "merging this moves nothing now, but changes rules" if warned else "merging this changes nothing"
    return "what merging this would do"


def _environment(report: PreviewReport, environment: EnvironmentPreview, entries: int) -> dict[str, Any]:
    plan = environment.plan
    summary = ""
    if plan is not None:
        summary = summary_text(plan).replace(", as said above", "")
    elif environment.trouble:
        summary = f"Nothing could be computed: {environment.trouble}"
    elif environment.problems:
        summary = f"No plan: {count_text(len(environment.problems), 'problem')} in the specs."
    return {
        "name": environment.environment,
        "summary": summary,
        "plan": plan_values(plan, entries) if plan is not None and (not plan.empty or plan.notes) else None,
        "steps": count_text(len(plan.steps), "step") if plan is not None else "",
        "collapsed": plan is not None and entries > 0 and len(plan.steps) > _LONG,
        "compared": _compared(report, environment) if plan is not None else "",
    }


def _compared(report: PreviewReport, environment: EnvironmentPreview) -> Any:
    if report.at is None:
        return inert(
            f"Compared with {report.base} as if it were applied; devices and stored artifacts were not looked at."
        )
    live = f"Compared with the live state of {report.at:%Y-%m-%d %H:%M} UTC, in which "
    if environment.in_force is None:
        return inert(f"{live}nothing is in force yet.")
    return join([live, code(short(environment.in_force)), " is in force."], "")


def _computed(report: PreviewReport) -> Any:
    how = " and " if report.conflicts else ", merged into "
    parts = ["Computed for ", code(short(report.head)), how, code(report.base)]
    if report.base_commit and report.base_commit != report.base:
        parts += [" at ", code(short(report.base_commit))]
    return join([*parts, ". Nothing was run, and nothing changed."], "")


def _problem(problem: Problem, environments: str) -> dict[str, Any]:
    where = f"{problem.path}:{problem.line}:{problem.column}" if problem.line else problem.path
    return {"where": where, "message": problem.message, "hint": problem.hint, "environments": environments}


def _findings(report: PreviewReport) -> list[ReviewWarning]:
    return [finding for environment in report.environments for finding in environment.findings]


def _grouped(pairs: Iterable[tuple[str, T]]) -> list[tuple[T, list[str]]]:
    """Name each thing once, with the environments it is true of; warnings stay before facts."""
    found: dict[T, list[str]] = {}
    for environment, thing in pairs:
        found.setdefault(thing, []).append(environment)
    return sorted(found.items(), key=lambda item: getattr(item[0], "severity", "") == "info")


def _where(names: Sequence[str], everyone: int) -> str:
    """Name the environments something is true of, unless that is all of them."""
    return "" if len(names) == everyone else ", ".join(names)


def _more(count: int, shown: int) -> str:
    return f"{count - shown:,}" if count > shown else ""
