"""An import of a module by the name it had before is an error that names the new one."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from edgewright import moved_modules as engine_modules
from edgewright.errors import UserCodeFailed
from edgewright.pipeline.runner.user_code import load
from edgewright_agent import moved_modules as agent_modules
from edgewright_agent.errors import SettingsError
from edgewright_agent.runtime import load_runtime

MOVED = {**engine_modules.MOVED, **agent_modules.MOVED}
TRAIN = "edgewright.build.train moved to edgewright.pipeline.training.step"


def test_every_new_name_is_there_and_no_old_one() -> None:
    roots = [Path(__file__).parents[3] / folder for folder in ("engine", "fleet")]

    def there(name: str) -> bool:
        path = name.replace(".", "/")
        return any((root / f"{path}.py").is_file() or (root / path / "__init__.py").is_file() for root in roots)

    assert [new for new in MOVED.values() if not there(new)] == []
    assert [old for old in MOVED if there(old)] == []


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("import edgewright.build.train", TRAIN),
        ("from edgewright.build import train", TRAIN),
        ("from edgewright.build.train import build", TRAIN),
        ("import edgewright_agent.probe", "edgewright_agent.probe moved to edgewright_agent.probing.prober"),
        ("from edgewright_agent import probe", "edgewright_agent.probe moved to edgewright_agent.probing.prober"),
    ],
)
def test_an_old_import_names_the_new_module(statement: str, message: str) -> None:
    package = statement.split()[1].partition(".")[0]
    code = f"import {package}\n{statement}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"ModuleNotFoundError: {message}: import it from there"


def test_a_name_that_never_was_is_not_found_as_ever() -> None:
    assert find_spec("edgewright.nothing_of_this_name") is None
    assert find_spec("edgewright_agent.nothing_of_this_name") is None


def test_the_table_is_read_only_when_an_import_fails() -> None:
    code = "import sys, edgewright_agent.main; print('edgewright_agent.moved_modules' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_user_code_that_imports_an_old_module_is_told_the_new_one(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from edgewright.build.train import Trained\n", "utf-8")
    with pytest.raises(UserCodeFailed, match=TRAIN):
        load(tmp_path, "net.py:Net")


def test_a_runtime_under_an_old_name_is_told_the_new_one() -> None:
    with pytest.raises(SettingsError, match=r"edgewright_agent\.probe moved to edgewright_agent\.probing\.prober"):
        load_runtime("edgewright_agent.probe:Runtime")
