"""Settings of allocators: in force once a run is prepared, unless the user set others."""

import subprocess
import sys

import pytest
from support.real_runs import ROOT, environment

CODE = (
    "from jobs.process.allocator import prepare_for_run, set_library_defaults\n"
    "set_library_defaults()\n"
    "import pyarrow\n"
    "prepare_for_run()\n"
    "print(pyarrow.default_memory_pool().backend_name)\n"
)


@pytest.mark.parametrize(
    ("variables", "pool"), [({}, "system"), ({"ARROW_DEFAULT_MEMORY_POOL": "mimalloc"}, "mimalloc")]
)
def test_arrow_takes_the_c_librarys_allocator_unless_the_user_names_another(
    variables: dict[str, str], pool: str
) -> None:
    env = environment(**variables)
    if not variables:
        env.pop("ARROW_DEFAULT_MEMORY_POOL", None)

    printed = subprocess.run(
        [sys.executable, "-c", CODE], cwd=ROOT, env=env, capture_output=True, text=True, check=True
    )

    assert printed.stdout.strip() == pool
    assert printed.stderr == ""
