"""Previews of a pull request before its merge: values that ``render`` writes as a comment."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from edgewright.core.planning.plan import Plan
from edgewright.core.review.findings import ReviewWarning
from edgewright.errors import Problem

Verdict = Literal["success", "failure", "error"]


def status_context(context: str, folder: str) -> str:
    """Name a commit status: of specs in a folder of the repository, with that folder."""
    return f"{context} ({folder})" if folder else context


@dataclass(frozen=True, slots=True)
class EnvironmentPreview:
    """Consequences of a merge for one environment."""

    environment: str
    """Empty where the repository declares none."""
    plan: Plan | None = None
    """None: there are problems, or trouble."""
    findings: tuple[ReviewWarning, ...] = ()
    problems: tuple[Problem, ...] = ()
    """What would be wrong with the specs."""
    trouble: str = ""
    """Why nothing could be computed, though the specs are right."""
    in_force: str | None = None
    """The revision that the findings compare with."""


@dataclass(frozen=True, slots=True)
class PreviewReport:
    """Content of one preview comment."""

    base: str
    """What the change is to be merged into, as people call it."""
    base_commit: str
    head: str
    environments: tuple[EnvironmentPreview, ...] = ()
    """Those that follow the base."""
    remarks: tuple[str, ...] = ()
    """More to say, a sentence each."""
    conflicts: tuple[str, ...] = ()
    at: datetime | None = None
    """When the live state was looked at; None: nobody looked, the base is taken as applied."""
    command: str = ""
    """Shows the whole plan."""
    folder: str = ""
    """The folder of the repository that the specs are in; empty: its top."""

    @property
    def verdict(self) -> Verdict:
        """True when specs and signatures allow the merge. A plan with changes is a success."""
        wrong = any(
            environment.problems or any(finding.reason == "UnverifiedSigner" for finding in environment.findings)
            for environment in self.environments
        )
        if self.conflicts or wrong:
            return "failure"
        return "error" if any(environment.trouble for environment in self.environments) else "success"
