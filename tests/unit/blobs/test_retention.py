"""Which artifacts and blobs gc keeps."""

from dataclasses import replace

from edgewright.blobs.retention import kept, needed, referenced_blobs
from edgewright.core.address import Address
from edgewright.core.artifact import Action, Artifact
from edgewright.core.planning.observed import Champion
from edgewright.core.rollout.state import DeviceProgress, RolloutState
from edgewright_wire.messages import ModelReport, Phase, Report
from samples.state_values import NOW, a_release, an_artifact, an_assignment, digest


def recorded(*artifacts: Artifact) -> dict[str, Artifact]:
    return {artifact.fingerprint: artifact for artifact in artifacts}


def test_the_newest_two_of_each_step_stay() -> None:
    trained = [an_artifact(f"train {age}", age=age) for age in range(4)]
    exported = [an_artifact(f"export {age}", age=age, action=Action.EXPORT) for age in range(3)]
    other = an_artifact("other", age=99, address=Address("model", "other"))
    found = kept(recorded(*trained, *exported, other), desired=frozenset(), champions=[], packages=frozenset())
    assert found == {a.fingerprint for a in (*trained[:2], *exported[:2], other)}


def test_what_is_desired_stays_whatever_its_age() -> None:
    artifacts = recorded(*(an_artifact(f"{age}", age=age) for age in range(5)))
    wanted = an_artifact("4", age=4).fingerprint
    found = kept(artifacts, desired={wanted, "sha256:unknown"}, champions=[], packages=frozenset(), newest=0)
    assert found == {wanted}


def test_a_champion_keeps_its_package_its_export_and_its_training() -> None:
    train, export = an_artifact("t"), an_artifact("e", action=Action.EXPORT)
    package, evaluation = an_artifact("p", action=Action.PACKAGE), an_artifact("v", action=Action.EVALUATE)
    champion = Champion(package.digest, export.digest, export.fingerprint, "int8", train.fingerprint)
    artifacts = recorded(train, export, package, evaluation)
    found = kept(artifacts, desired=frozenset(), champions=[champion], packages=frozenset(), newest=0)
    assert found == {train.fingerprint, export.fingerprint, package.fingerprint}


def test_packages_stay_for_devices_and_other_artifacts_of_that_digest_do_not() -> None:
    package = an_artifact("p", action=Action.PACKAGE)
    namesake = replace(an_artifact("t"), digest=package.digest)
    artifacts = recorded(package, namesake)
    found = kept(artifacts, desired=frozenset(), champions=[], packages={package.digest}, newest=0)
    assert found == {package.fingerprint}


def test_packages_are_needed_where_they_are_assigned_run_or_returned_to() -> None:
    said = ModelReport(model="m", phase=Phase.FETCHING, installed=digest("i"), active=digest("a"), verified=digest("v"))
    report = Report(device="lane-1", sequence=1, sent_at=NOW, agent_version="1", models=(said,))
    state = RolloutState(
        release=a_release("current"),
        proven=a_release("proven"),
        devices={"lane-1": DeviceProgress(release=a_release("offered"), verified=a_release("former"))},
    )
    found = needed([an_assignment("lane-1", 1, "assigned", config=True)], [report], [state])
    of_releases = {f"package {name}" for name in ("assigned", "current", "proven", "offered", "former")}
    assert found.packages == {digest(name) for name in of_releases | {"i", "a", "v"}}
    assert found.configs == {digest("config assigned")}


def test_blobs_of_kept_artifacts_and_configurations_are_referenced() -> None:
    first, second = an_artifact("1"), an_artifact("2")
    found = referenced_blobs(recorded(first, second), {first.fingerprint}, [digest("config")])
    assert found == {digest("weights 1"), digest("1"), digest("config")}
