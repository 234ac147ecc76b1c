"""What a run leaves on the terminal at its end: each cause once."""

from rich.console import Console

from edgewright.cli.progress import PlainListener
from edgewright.cli.render.outcome import outcome_text
from edgewright.core.address import Address
from edgewright.core.planning.plan import BuildDataset, Note, Plan
from edgewright.errors import StepFailed
from edgewright.reconcile.run import Failure, RunResult

PETS = Address("dataset", "pets")
CAUSE = "dataset/pets cannot be built from data:\n  - .heic files are not read (40): bird/0.HEIC"
BLOCKED = Note(PETS, "blocked", "StepFailed", f"build-dataset failed: {CAUSE}")


def outcome(*failures: Failure) -> str:
    plan = Plan("commit", "observed", "id", (), (BLOCKED,))
    return "\n".join(str(line) for line in outcome_text(RunResult(plan, failures)))


def test_a_cause_is_written_once() -> None:
    text = outcome(Failure("build-dataset dataset/pets", StepFailed(CAUSE, hint="convert them")))

    assert text.count("bird/0.HEIC") == 1
    assert "✗ dataset/pets StepFailed: build-dataset failed, as said above" in text


def test_a_cause_of_an_earlier_run_is_written_in_full() -> None:
    assert CAUSE in outcome()


def test_progress_leaves_the_details_of_a_final_failure_to_the_end() -> None:
    console = Console(record=True, width=200)
    listener = PlainListener(console)
    step = BuildDataset(address=PETS, fingerprint=None)
    listener.failed(step, StepFailed(CAUSE), None)
    listener.failed(step, StepFailed(CAUSE), 2.0)

    final, again = console.export_text().split("build-dataset dataset/pets: failed: ")[1:]
    assert final.strip() == "dataset/pets cannot be built from data"
    assert "bird/0.HEIC (trying again in 2.0 s)" in again
