"""Environment of a worker: this process's, without what would let the code it runs act in our name.

The code of the repository runs with this user's rights all the same (docs/explanation/security.md); but what it prints,
sends or keeps of its environment, as tools that track experiments do, is not to hold our tokens. Called by ``local``.
"""

from collections.abc import Mapping

_OURS = "EDGEWRIGHT_"
_KEPT = frozenset({"EDGEWRIGHT_DEVICE"})
_PREFIXES = ("ACTIONS_", "BITBUCKET_STEP_OIDC", "CI_JOB_JWT", "GIT_", "SYSTEM_ACCESS")
"""Of CI, and settings of git that may hold headers with passwords."""
_NAMES = frozenset(
    {
        "CI_BUILD_TOKEN", "CI_DEPLOY_PASSWORD", "CI_DEPLOY_USER", "CI_DEPENDENCY_PROXY_PASSWORD", "CI_JOB_TOKEN",
        "CI_REGISTRY_PASSWORD", "CI_REPOSITORY_URL", "DATABASE_URL", "FORGEJO_TOKEN", "GH_ENTERPRISE_TOKEN", "GH_TOKEN",
        "GITEA_TOKEN", "GITHUB_ENTERPRISE_TOKEN", "GITHUB_TOKEN", "GITLAB_TOKEN", "PGPASSFILE", "PGPASSWORD",
        "PGSERVICEFILE", "SSH_AGENT_PID", "SSH_ASKPASS", "SSH_AUTH_SOCK", "VAULT_TOKEN",
    }
)  # fmt: skip


def without_ours(environment: Mapping[str, str]) -> dict[str, str]:
    """Leave out our own settings and secrets, those of CI and forges, of the state's database, and the SSH agent.

    What data is read with stays: a cloud's credentials, proxies, certificates.
    """
    return {name: value for name, value in environment.items() if name in _KEPT or not _is_ours(name.upper())}


def _is_ours(name: str) -> bool:
    return name.startswith((_OURS, *_PREFIXES)) or name in _NAMES
