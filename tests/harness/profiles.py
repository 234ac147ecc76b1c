"""How thoroughly properties and crashes are tried: the profile that ``EDGEWRIGHT_TEST_PROFILE`` names.

``fast`` is for ``make check``, ``usual`` for ``make test``, ``thorough`` for ``make test-all``. ``conftest`` registers
the same names as profiles of hypothesis; a test with a number of its own scales it by ``examples``.
"""

import os

import hypothesis

FACTORS = {"fast": 0.1, "usual": 1.0, "thorough": 10.0}
PROFILE = os.environ.get("EDGEWRIGHT_TEST_PROFILE", "usual")
THOROUGH = PROFILE == "thorough"
_LEAST = 5


def examples(usual: int) -> int:
    """Scale a number of examples from the usual profile to the one in force."""
    return max(_LEAST, round(usual * FACTORS[PROFILE]))


def register() -> None:
    """Register hypothesis' profiles and load the one in force.

    None has a deadline: how fast an example runs says more of the machine than of the code; benchmarks measure that.

    Raises:
        KeyError: The environment names another profile.
    """
    for name, factor in FACTORS.items():
        hypothesis.settings.register_profile(name, deadline=None, max_examples=round(100 * factor))
    hypothesis.settings.load_profile(PROFILE)
