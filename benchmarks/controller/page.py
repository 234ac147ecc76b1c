"""docs/reference/benchmarks-controller.md, from what was measured and nothing else. Called by ``__main__``."""

from collections.abc import Iterator, Mapping

from benchmarks import peer
from benchmarks.controller.run import Found, Size, Spread
from benchmarks.page import heading, join, measured_on, met, mib, seconds, table

PLANNED_SECONDS_GOAL = 3.0
PASS_RATIO_GOAL = 0.5
IDLE_SHARE_GOAL = 0.02
MEMORY_MIB_GOAL = 250.0

_HEAD = """\
`make bench` writes this page from what it measures; nothing here is written by hand. The controller is a real
`edgewright serve` that follows a repository over HTTP (Git's own server, `git http-backend`); pushes, signed webhooks
and the state store are real, too. Everything had been applied and verified before. The forge is the one that the tests
use, on the same machine; training and devices were simulated.""".splitlines()

_INCLUDED = """\
The clock starts when the webhook is answered (202) and stops when the forge has the commit's status `success`, or the
pull request's comment. In between: 0.2 s in which more webhooks may come, the fetch, checking and reading the changed
specs, taking the revision up, observing, the plan, the conditions of every resource, and telling the forge. The change
was one of a model's thresholds; the pull request changes how one model is trained.""".splitlines()

_PASSES = """\
Seconds of one pass of the controller's loop from being woken until every resource is judged: it observes the state
store, the published repository and the reports of all devices, plans, and judges. "Until training starts" is from being
told of a commit that changes a model until its training runs. "First" is the first pass of a process, which looks for
drift and at every rollout.""".splitlines()

_FLUX = """\
Flux publishes how long it takes to bring changes of 100, 500 and 1,000 packages to a cluster
([fluxcd/flux-benchmark](https://github.com/fluxcd/flux-benchmark/blob/main/RESULTS.md), version 2.6, Kustomizations):
28 s, 2 m 2 s and 4 m 16 s, with 32, 122 and 175 MiB at most in kustomize-controller, which had two processors of a
machine with 16 cores. That is other work on another machine: it applies objects to Kubernetes, where the passes above
find nothing or one thing to do. The figures are here for their order of magnitude; no ratio is made of
them.""".splitlines()


def write_controller(found: Found, machine: Mapping[str, str]) -> str:
    """Write docs/reference/benchmarks-controller.md."""
    versions = {**machine, "dvc": found.dvc_version}
    parts = (_goals(found), _answers(found), _passes(found), _rest(found), _others())
    return join(["# The controller", "", *_HEAD], *parts, measured_on("controller", versions))


def _goals(found: Found) -> Iterator[str]:
    size = found.sizes[-1]
    answers, unchanged = size.answers, size.passes.unchanged
    ratio = unchanged.median / found.dvc.seconds
    files = peer.STAGES * peer.FILES_PER_STAGE
    yield from heading("Goals")
    yield f"{size.resources:,} resources, {size.devices:,} devices; medians of {found.times}."
    yield ""
    yield from table(
        ("what", "measured", "goal", "met"),
        [
            (
                "from webhook to plan",
                seconds(answers.planned.median),
                f"under {PLANNED_SECONDS_GOAL:g} s",
                met(answers.planned.median < PLANNED_SECONDS_GOAL),
            ),
            (
                f"a pass with nothing to do, against `dvc status` of {peer.STAGES} stages and {files:,} files "
                f"({seconds(found.dvc.seconds)}, a process of its own each time)",
                f"{seconds(unchanged.median)}, ratio {ratio:.2f}",
                f"ratio under {PASS_RATIO_GOAL:g}",
                met(ratio < PASS_RATIO_GOAL),
            ),
            (
                "processor time at rest",
                _share(answers.idle_share),
                f"under {_share(IDLE_SHARE_GOAL)} of a core",
                met(answers.idle_share < IDLE_SHARE_GOAL),
            ),
            (
                "memory, with Git's processes",
                mib(answers.memory_mib),
                f"under {mib(MEMORY_MIB_GOAL)}",
                met(answers.memory_mib < MEMORY_MIB_GOAL),
            ),
        ],
    )


def _answers(found: Found) -> Iterator[str]:
    yield from heading("From a webhook to a plan")
    yield from _INCLUDED
    yield ""
    head = ("resources", "in force", "planned, median", "worst", "preview, median", "worst", "from start to planned")
    yield from table(
        head,
        [
            (
                *_named(size),
                seconds(size.answers.taken.median),
                *_both(size.answers.planned),
                *_both(size.answers.previewed),
                seconds(size.answers.ready),
            )
            for size in found.sizes
        ],
    )


def _passes(found: Found) -> Iterator[str]:
    yield from heading("A pass")
    yield from _PASSES
    yield ""
    head = (
        "resources",
        "nothing to do, median",
        "worst",
        "thresholds changed, median",
        "worst",
        "looking for drift, median",
        "worst",
        "until training starts",
        "first",
    )
    yield from table(
        head,
        [
            (
                *_named(size),
                *_both(size.passes.unchanged),
                *_both(size.passes.changed),
                *_both(size.passes.looked),
                seconds(size.passes.started),
                seconds(size.passes.first),
            )
            for size in found.sizes
        ],
    )
    yield ""
    yield "With 10,000 resources: [Growth](benchmarks-growth.md)."


def _rest(found: Found) -> Iterator[str]:
    yield from heading("At rest")
    yield f"Over {found.idle_seconds:g} seconds after the changes above, with nobody asking for anything. Memory is"
    yield "resident, of the controller and the Git processes it keeps."
    yield ""
    yield from table(
        ("resources", "devices", "memory", "processor seconds in a minute"),
        [
            (
                *_named(size),
                f"{size.devices:,}",
                mib(size.answers.memory_mib),
                seconds(size.answers.idle_share * 60),
            )
            for size in found.sizes
        ],
    )


def _others() -> Iterator[str]:
    yield from heading("What others publish")
    yield from _FLUX


def _named(size: Size) -> tuple[str]:
    return (f"{size.resources:,}",)


def _both(spread: Spread) -> tuple[str, str]:
    return seconds(spread.median), seconds(spread.worst)


def _share(share: float) -> str:
    return f"{share * 100:.1f} %"
