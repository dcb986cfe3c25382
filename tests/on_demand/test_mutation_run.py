"""`make mutants` on a package of two functions. Needs mutmut, which that command installs."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mutmut", reason="pip install mutmut==3.8.1")

RUNNER = Path(__file__).parents[1] / "support" / "mutation_run.py"
CODE = """
def larger(first, second):
    return first if first > second else second

def down(number):
    while number:
        number = number - 1

def unused():
    return 1 + 1
"""
CONFTEST = """
from hypothesis import settings

settings.register_profile("mutants")
"""
TESTS = """
from made.code import down, larger

def test_larger():
    assert larger(1, 2) == larger(2, 1) == 2

def test_down():
    down(2)
"""


def mutation_run(folder: Path, tests: str) -> subprocess.CompletedProcess[str]:
    for name, text in {
        "pyproject.toml": '[tool.mutmut]\nsource_paths = ["made"]\n',
        "made/__init__.py": "",
        "made/code.py": CODE,
        "tests/conftest.py": CONFTEST,
        "tests/test_code.py": tests,
    }.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return subprocess.run(
        [sys.executable, RUNNER, "tests"], cwd=folder, capture_output=True, text=True
    )


def test_survivors_hangs_and_code_without_tests_are_told_apart(tmp_path: Path) -> None:
    run = mutation_run(tmp_path, TESTS)

    told = run.stdout.splitlines()
    assert told[-1].endswith("1 killed by a time limit, 3 survived, 3 reached by no test")
    assert any(line.startswith("killed by a time limit: made.code.x_down__") for line in told)
    assert any(line.startswith("survived: made.code.x_larger__") for line in told)
    assert any(line.startswith("reached by no test: made.code.x_unused__") for line in told)
    assert run.returncode == 0


def test_tests_that_fail_without_a_mutant_are_refused(tmp_path: Path) -> None:
    run = mutation_run(tmp_path, TESTS + "    assert False\n")

    assert "FAILED tests/test_code.py::test_down" in run.stdout
    assert run.stdout.splitlines()[-1].startswith("The tests fail without a mutant")
    assert run.returncode == 1
