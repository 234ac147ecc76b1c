"""The process that computes one preview. Started by ``controller.preview_process`` with a request on stdin.

Nothing of the pull request is run here either; the process is for what reading it may cost.
"""

import json
import sys
from dataclasses import asdict
from datetime import datetime
from functools import cache
from typing import Any

from edgewright.controller.preview_process import PreviewRequest, compute_here, enter_limits, failure_code
from edgewright.controller.preview_reports import Change, PreviewTarget
from edgewright.core.snapshot import Snapshot
from edgewright.errors import EdgewrightError
from edgewright.ports import Upstream
from edgewright.wiring.environments import LiveEnvironment
from edgewright.wiring.workspace import Workspace
from edgewright_schemas.environment import Follow


def main() -> int:
    """Answer the request on stdin with JSON on stdout; return the exit code."""
    request = json.loads(sys.stdin.buffer.read())
    enter_limits(**request["limits"])
    at = datetime.fromisoformat(request["at"])
    workspace = Workspace(**request["workspace"], clock=lambda: at)
    change = Change(**{**request["change"], "conflicts": tuple(request["change"]["conflicts"])})
    upstream = workspace.upstream
    try:
        reached, others = (
            [_target(workspace, upstream, each) for each in request[name]] for name in ("reached", "others")
        )
        computed = compute_here(upstream)(PreviewRequest(reached, others, change, at, request["longest"]))
    except EdgewrightError as error:
        json.dump({"message": error.message, "hint": error.hint}, sys.stdout)
        return failure_code(error)
    finally:
        upstream.close()
        workspace.close()
    json.dump(asdict(computed), sys.stdout)
    return 0


def _target(workspace: Workspace, upstream: Upstream, given: dict[str, Any]) -> PreviewTarget:
    name, commit = given["environment"], given["revision"]
    environment = LiveEnvironment(workspace.for_environment(name), upstream, lambda: None)

    @cache
    def in_force() -> Snapshot | None:
        if commit is None:
            return None
        return upstream.source(lambda: commit, name).snapshot()

    return PreviewTarget(
        environment=name,
        follow=Follow.model_validate(given["follow"]),
        plan=lambda proposed: environment.plan(proposed, in_force()),
        in_force=in_force,
        revision=lambda: commit,
    )


if __name__ == "__main__":
    sys.exit(main())
