"""Golden previews: edits to a repository, and the comment they get. The fields: tests/golden/README.md."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from edgewright.core.planning.observed import Observed
from edgewright.core.planning.planner import plan
from edgewright.core.review.previews import EnvironmentPreview, PreviewReport
from edgewright.core.review.review import review
from edgewright.core.signatures import Signature, SignatureState
from edgewright.errors import SpecError
from edgewright.render.preview_markdown import preview_markdown
from fakes.source import snapshot_of
from harness.applied import apply
from samples.plan_cases import Names, edited, read_yaml

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
BASE, HEAD = "b" * 40, "a" * 40


@dataclass
class PreviewCase:
    """One case, read."""

    path: Path
    body: Mapping[str, Any]
    _names: Names = field(default_factory=Names)

    def comment(self) -> str:
        """Compute the comment, with names in place of digests."""
        repositories = self.path.parents[1] / "repositories"
        files = read_yaml((repositories / f"{self.body['repository']}.yaml").read_text())
        files = edited(files, self.body.get("base", ()))
        report = self._report(files)
        limit = {"limit": self.body["limit"]} if "limit" in self.body else {}
        found = self._names.put_in(preview_markdown(report, **limit))
        assert isinstance(found, str)
        return found

    def _report(self, files: dict[str, str]) -> PreviewReport:
        names = self.body.get("environments", [""])
        conflicts = tuple(self.body.get("conflicts", ()))
        previews = () if conflicts else tuple(self._environment(name, files) for name in names)
        return PreviewReport(
            base="main",
            base_commit=BASE,
            head=HEAD,
            environments=previews,
            remarks=tuple(self.body.get("remarks", ())),
            conflicts=conflicts,
            at=NOW,
            command="" if conflicts else "edgewright preview --base main --head aaaaaaaaaaaa",
        )

    def _environment(self, name: str, files: dict[str, str]) -> EnvironmentPreview:
        before = snapshot_of(files, BASE)
        took = {key: timedelta(seconds=seconds) for key, seconds in _durations(self.body.get("durations", {})).items()}
        observed = apply(before, Observed(durations=took), NOW - timedelta(hours=1))
        self._names.learn(before, observed)
        try:
            after = snapshot_of(edited(files, self.body["head"]), HEAD)
        except SpecError as error:
            return EnvironmentPreview(name, problems=error.problems)
        self._names.learn(after, observed)
        found = plan(after, observed, NOW)
        state = SignatureState(self.body.get("signature", "not-required"))
        signature = Signature(state, f"commit {HEAD[:12]}", self.body.get("signer", ""))
        return EnvironmentPreview(name, found, review(before, after, found, signature), in_force=BASE)


def _durations(given: Mapping[str, float]) -> dict[Any, float]:
    from edgewright.core.artifact import Action

    found = {}
    for step, seconds in given.items():
        action, _, address = step.partition(" ")
        found[Action(action), address] = seconds
    return found
