"""Exit codes, as what a task does about them."""

import pytest
from support.markdown import read_page, rows, section

from jobs.airflow.outcomes import OUTCOMES, failure, outcome_of


def test_every_exit_code_of_the_commands_has_an_outcome() -> None:
    documented = {
        int(cells[0]) for cells in rows(section(read_page("jobs/README.md"), "Exit codes"), "code")
    }

    assert set(OUTCOMES) == documented - {0}


@pytest.mark.parametrize("code", [1, 6, 7, 8, 130, 143, -9, -15, -11, 99, 255])
def test_what_may_pass_is_retried(code: int) -> None:
    assert failure("run", code, None).may_pass


@pytest.mark.parametrize("code", [2, 3, 4, 5, 9, 10])
def test_what_a_person_must_mend_fails_at_once(code: int) -> None:
    assert not failure("run", code, None).may_pass


def test_the_message_tells_the_code_what_it_means_and_what_the_command_said() -> None:
    assert str(failure("run", 4, "401: InvalidApiKey")) == (
        "rerank run ended with exit 4 (the service or server refuses until a person acts): "
        "401: InvalidApiKey"
    )


def test_a_killed_command_is_told_by_its_signal() -> None:
    assert outcome_of(-15).meaning == "killed by SIGTERM"
    assert outcome_of(-9).meaning == "killed by SIGKILL, perhaps out of memory"
    assert outcome_of(-70).meaning == "killed by signal 70"
