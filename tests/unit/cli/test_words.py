"""Words of the command line: singulars, and what may be done while a run waits."""

from datetime import UTC, datetime

import pytest

from edgewright.cli.commands.gc import stays_text
from edgewright.cli.progress import event_text
from edgewright.ports import Event


@pytest.mark.parametrize(
    ("kept", "young", "text"),
    [
        (0, 0, "0 files stay"),
        (1, 0, "1 file stays"),
        (1, 1, "1 file stays, 1 of them because it is too young to judge"),
        (1200, 2, "1,200 files stay, 2 of them because they are too young to judge"),
    ],
)
def test_files_that_stay_are_counted_in_english(kept: int, young: int, text: str) -> None:
    assert stays_text(kept, young) == text


@pytest.mark.parametrize(
    ("reason", "end"),
    [("RolloutWaiting", "is offline (Ctrl-C ends this run; the next apply goes on)"), ("WavePassed", "is offline")],
)
def test_a_long_wait_says_that_the_run_may_be_ended(reason: str, end: str) -> None:
    event = Event(datetime(2026, 1, 1, tzinfo=UTC), reason, "rollout/reader", "it is offline", {}, "")
    assert event_text(event) == f"rollout/reader: {reason}: it {end}"
