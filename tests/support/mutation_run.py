"""Break the code in small ways, one at a time, and list what no test notices (`make mutants`).

mutmut makes the mutants: each function in all its variants, of which a call takes the one that is
chosen by then. pytest collects the tests once, in this process, and each mutant has a fork of it
that runs the tests that call the mutated function, quick ones first, until one fails.

In a folder with a copy of the project, whose pyproject.toml tells mutmut what to break:

    python tests/support/mutation_run.py TESTS...
"""

import json
import os
import select
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TextIO

import pytest
from mutmut.__main__ import create_mutants
from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.trampoline import set_mutant_under_test
from mutmut.state import state
from mutmut.utils.file_utils import copy_also_copy_files, copy_src_dir, walk_mutatable_files
from mutmut.utils.format_utils import mangled_name_from_mutant_name

UNMUTATED = "stats"  # mutmut's word for: take the originals, and note which functions are called
MAX_UNMUTATED_S = 1800
EXIT_CODES = {"killed": 1, "timeout": 36, "survived": 0, "unreached": 33}  # mutmut's, for its files
WORDS = {
    "killed": "killed",
    "timeout": "killed by a time limit",
    "survived": "survived",
    "unreached": "reached by no test",
}
PYTEST = ("--rootdir=.", "-q", "-x", "--tb=native", "-p", "no:xdist", "-p", "no:cacheprovider")
PYTEST += ("--timeout=0", "--hypothesis-profile=mutants")


class MutationRun:
    """A plugin of pytest: instead of running the tests, try each mutant in a fork that does."""

    def __init__(self, mutants: list[str], console: TextIO) -> None:
        self._mutants = mutants
        self._console = console
        self._reached_file = Path("reached.json").resolve()
        self._reached: dict[str, dict[str, float]] = {}
        self.is_fork = False
        self.ready = False
        self.verdicts: dict[str, str] = {}

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> bool | None:
        """Return True once each mutant is tried. In a fork, return None: pytest runs the tests."""
        if session.testsfailed:
            return None
        unmutated = self._try(UNMUTATED, MAX_UNMUTATED_S)
        self.ready = unmutated == "survived"
        if unmutated is None or not self.ready:
            return None if self.is_fork else True
        reached: dict[str, dict[str, float]] = json.loads(self._reached_file.read_text())
        tests = {test.nodeid: test for test in session.items}
        for number, mutant in enumerate(self._mutants, 1):
            took_s = reached.get(mangled_name_from_mutant_name(mutant), {})
            verdict: str | None = "unreached"
            if took_s:
                session.items = [tests[name] for name in sorted(took_s, key=took_s.__getitem__)]
                verdict = self._try(mutant, limit_s=5 + round(4 * sum(took_s.values())))
            if verdict is None:
                return None
            self.verdicts[mutant] = verdict
            if verdict != "killed":
                print(f"{number}/{len(self._mutants)} {verdict} {mutant}", file=self._console)
        return True

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> object:
        """Note which functions the test called, and how long it took."""
        started = time.monotonic()
        result = yield
        for function in state()._stats:
            self._reached.setdefault(function, {})[item.nodeid] = time.monotonic() - started
        state()._stats.clear()
        return result

    def pytest_sessionfinish(self) -> None:
        """Save what each test called."""
        if self.is_fork and os.environ["MUTANT_UNDER_TEST"] == UNMUTATED:
            self._reached_file.write_text(json.dumps(self._reached))

    def _try(self, mutant: str, limit_s: int) -> str | None:
        """Fork. Return None in the fork, which is the mutant from now on, and else its verdict."""
        ended, alive = os.pipe()  # the fork holds `alive`: the pipe ends with it
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.close(ended)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            self.is_fork = True
            set_mutant_under_test(mutant)
            state()._stats.clear()
            return None
        os.close(alive)
        try:
            # Seconds are counted, not read from a clock: a run that is suspended kills no mutant.
            in_time = any(select.select([ended], [], [], 1)[0] for _ in range(limit_s))
        finally:
            os.close(ended)
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)  # if it hangs; and whatever its tests started
            status = os.waitpid(pid, 0)[1]
        if not in_time:
            return "timeout"
        return "survived" if status == 0 else "killed"


def main(tests: list[str]) -> int:
    """Print what survives, and return an exit code: 1 if the unmutated tests fail."""
    console = os.fdopen(os.dup(1), "w", buffering=1)
    log = Path("tests.log").open("w", buffering=1)
    os.dup2(log.fileno(), 1)
    os.dup2(log.fileno(), 2)
    copy_src_dir()
    copy_also_copy_files()
    create_mutants(max_children=1)
    files = [SourceFileMutationData(path=path) for path in walk_mutatable_files()]
    for file in files:
        file.load()
    mutants = [mutant for file in files for mutant in file.exit_code_by_key]
    run = MutationRun(mutants, console)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = Path.cwd()
    os.chdir("mutants")
    sys.path[0] = str(Path.cwd())
    status = 3
    try:
        status = int(pytest.main([*PYTEST, *tests], plugins=[run]))
    finally:
        if run.is_fork:
            sys.stdout.flush()
            os._exit(status)
    os.chdir(home)
    if not run.ready:
        print(Path("tests.log").read_text(), file=console)
        print("The tests fail without a mutant, or there are none: see above.", file=console)
        return 1
    for file in files:  # for `mutmut show` and `mutmut browse`
        for mutant in file.exit_code_by_key:
            file.exit_code_by_key[mutant] = EXIT_CODES.get(run.verdicts.get(mutant, ""))
        file.save()
    counts = Counter(run.verdicts.values())
    for verdict in ("timeout", "unreached", "survived"):
        for mutant in (mutant for mutant in mutants if run.verdicts.get(mutant) == verdict):
            print(f"{WORDS[verdict]}: {mutant}", file=console)
    told = ", ".join(f"{counts[verdict]} {words}" for verdict, words in WORDS.items())
    print(f"{len(run.verdicts)} of {len(mutants)} mutants: {told}", file=console)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
