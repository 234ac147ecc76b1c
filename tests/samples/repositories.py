"""Small Git repositories for tests, made with the git program and nobody's configuration."""

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

HEADER = "apiVersion: edgewright.dev/v1alpha1\n"
DATASET = (
    HEADER
    + """kind: Dataset
metadata: {name: tags}
spec:
  source: {uri: data/tags.csv, format: csv}
  columns: {weight: {type: number}, label: {type: category}}
  slices: [store]
"""
)
MODEL = (
    HEADER
    + """kind: Model
metadata: {name: reader}
spec:
  task: tabular-classification
  dataset: tags
  architecture: {use: mlp}
  thresholds: reader
"""
)
THRESHOLDS = (
    HEADER
    + """kind: Thresholds
metadata: {name: reader}
spec:
  gates:
    - {metric: accuracy, slice: {store: "*"}, min: 0.9}
"""
)
FLEET = (
    HEADER
    + """kind: Fleet
metadata: {name: stores}
spec:
  inventory: fleets/stores.csv
  config: {template: templates/lane.toml.j2, path: lane.toml}
"""
)
ROLLOUT = (
    HEADER
    + """kind: Rollout
metadata: {name: reader}
spec:
  model: reader
  fleet: stores
"""
)
FILES: Mapping[str, str] = {
    "specs/dataset.yaml": DATASET,
    "specs/model.yaml": MODEL,
    "specs/thresholds.yaml": THRESHOLDS,
    "specs/fleet.yaml": FLEET,
    "specs/rollout.yaml": ROLLOUT,
    "data/tags.csv": "store,weight,label\na,1,x\n",
    "fleets/stores.csv": "id,store\nd1,a\nd2,b\n",
    "templates/lane.toml.j2": "id = {{ device.id }}\n",
}
"""A whole, valid repository."""


def run_git(folder: Path, *arguments: str) -> str:
    """Run git without the machine's configuration."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("GIT_")},
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_AUTHOR_NAME": "t",
        "GIT_AUTHOR_EMAIL": "t@example.com",
        "GIT_COMMITTER_NAME": "t",
        "GIT_COMMITTER_EMAIL": "t@example.com",
    }
    done = subprocess.run(["git", *arguments], cwd=folder, env=environment, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write(folder: Path, files: Mapping[str, str | bytes]) -> None:
    """Write files, and the folders they are in."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def commit(folder: Path, message: str = "change") -> str:
    """Commit everything; returns the commit."""
    run_git(folder, "add", "-A")
    run_git(folder, "commit", "-q", "--allow-empty", "-m", message)
    return run_git(folder, "rev-parse", "HEAD")


def make_repository(folder: Path, files: Mapping[str, str | bytes] = FILES) -> Path:
    """Make a repository on branch main with one commit."""
    folder.mkdir(parents=True, exist_ok=True)
    run_git(folder, "init", "-q", "-b", "main")
    write(folder, {".gitignore": ".edgewright/\n", **files})
    commit(folder, "first")
    return folder


def append_empty_commits(folder: Path, branch: str, number: int) -> None:
    """Add so many commits without changes to the branch that is checked out, by one process."""
    entry = f"commit refs/heads/{branch}\ncommitter t <t@example.com> 1700000000 +0000\ndata {len(branch)}\n{branch}\n"
    start = run_git(folder, "rev-parse", branch)
    lines = entry + f"from {start}\n\n" + f"{entry}\n" * (number - 1)
    subprocess.run(["git", "fast-import", "--quiet"], cwd=folder, input=lines, check=True, text=True)
