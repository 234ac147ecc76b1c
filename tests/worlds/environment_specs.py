"""Specs of a repository with environments, and what is resolved of them."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from edgewright.core.snapshot import Snapshot
from edgewright.errors import SpecError
from edgewright.source.commits import GitSource
from samples.repositories import FILES, FLEET, HEADER, make_repository

REPOSITORY = (
    HEADER
    + """kind: Repository
metadata: {name: shop}
spec:
  environments:
    - name: staging
      follow: {branch: main}
      overlays: [environments/staging]
      values: {epochs: 2, store: lab, weight: 1.5, warm: true}
    - name: production
      follow: {tag: production}
      overlays: [environments/shared.yaml, environments/production]
      values: {epochs: 40, store: shops, weight: 1.5, warm: false}
"""
)
PATCH = HEADER + "kind: Model\nmetadata: {name: reader}\nspec:\n"
SHARED = PATCH + "  training: {batchSize: 16, seed: 4}\n"
ENVIRONMENTS = {
    **FILES,
    "edgewright.yaml": REPOSITORY,
    "environments/staging/model.yaml": PATCH + "  training: {batchSize: 8}\n",
    "environments/shared.yaml": SHARED,
    "environments/production/model.yaml": PATCH + "  training: {batchSize: 32}\n  thresholds: null\n",
    "environments/production/fleet.yaml": FLEET.replace("name: stores", "name: depots"),
}


def resolved(folder: Path, environment: str, changes: Mapping[str, str] | None = None) -> Snapshot:
    files = {name: text for name, text in {**ENVIRONMENTS, **(changes or {})}.items() if text}
    return GitSource(make_repository(folder, files), environment=environment).snapshot()


def wrong(folder: Path, environment: str, changes: Mapping[str, str]) -> list[str]:
    with pytest.raises(SpecError) as caught:
        resolved(folder, environment, changes)
    return [str(problem) for problem in caught.value.problems]


def training(snapshot: Snapshot) -> dict[str, object]:
    model = snapshot.model("reader")
    assert model is not None
    assert model.spec.training is not None
    return model.spec.training.model_dump(by_alias=True, exclude_unset=True)
