"""Finding few of many artifacts, in every store."""

from dataclasses import replace
from datetime import timedelta

from edgewright.core.artifact import Action
from harness.state_stores import State
from samples.state_values import NOW, an_artifact, digest


def test_a_few_artifacts_are_found_by_their_fingerprints_and_a_package_by_its_digest(state: State) -> None:
    made = [an_artifact(str(n), age=n, action=Action.PACKAGE if n % 2 else Action.TRAIN) for n in range(6)]
    same = replace(made[1], fingerprint=digest("another way to the same bytes"), created_at=NOW - timedelta(days=1))
    for artifact in (*made, same):
        state.record_artifact(artifact)

    few = state.artifacts(iter([made[1].fingerprint, made[4].fingerprint, digest("nobody made it")]))
    assert dict(few) == {each.fingerprint: each for each in (made[4], made[1])}
    assert list(few) == [made[4].fingerprint, made[1].fingerprint], "oldest first"
    assert dict(state.artifacts([])) == {}
    many = [artifact.fingerprint for artifact in made] + [digest(f"unknown {n}") for n in range(1_200)]
    assert state.artifacts(many).keys() == {artifact.fingerprint for artifact in made}

    assert state.package(made[3].digest) == made[3]
    assert state.package(made[1].digest) == same
    assert state.package(made[2].digest) is None, "it is no package"
