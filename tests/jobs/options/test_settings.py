"""Impossible options are refused in one line, before OUTPUT is touched, whatever they come from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.logging_state import restored_logging
from support.real_runs import SAMPLE

from jobs.cli import main

KEY = "sk-0123456789"

IMPOSSIBLE = [
    ("max-cost", "nan"),
    ("max-cost", "inf"),
    ("max-cost", "1e400"),
    ("max-cost", "-1"),
    ("requests-per-minute", "nan"),
    ("tokens-per-minute", "inf"),
    ("max-outage", "nan"),
    ("lock-wait", "nan"),
    ("lock-wait", "inf"),
    ("url", "http://127.0.0.1:99999/"),
    ("url", "http://127.0.0.1:-1/"),
    ("url", "http://127.0.0.1:0/"),
    ("url", "http://127.0.0.1:eighty/"),
    ("url", "http:///path"),
    ("url", "ftp://127.0.0.1/"),
    ("url", "http://user:secret@127.0.0.1/"),
    ("url", "http://user:sec/ret@127.0.0.1/"),
    ("url", "user:secret@127.0.0.1/"),
    ("url", "http://[user:secret@127.0.0.1/"),
]


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    with restored_logging():
        yield


@pytest.fixture
def refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Any:
    """Return a function that runs `rerank run`, which must refuse; it returns the line."""
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)

    def run(*options: str) -> str:
        output = tmp_path / "out"
        code = main(["run", str(SAMPLE / "candidates.parquet"), str(output), *options])
        (line,) = capsys.readouterr().err.splitlines()
        assert code == 2
        assert not output.exists()
        assert "secret" not in line
        return line

    return run


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
def test_it_is_refused_on_the_command_line(name: str, value: str, refused: Any) -> None:
    assert f"--{name}" in refused(f"--{name}", value)


@pytest.mark.parametrize(("name", "value"), IMPOSSIBLE)
def test_it_is_refused_from_the_environment(
    name: str, value: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"RERANK_RUN_{name}".upper().replace("-", "_"), value)

    assert name in refused()


@pytest.mark.parametrize(("name", "value"), [*IMPOSSIBLE, ("max-cost", float("nan"))])
def test_it_is_refused_from_a_config_file(
    name: str, value: object, refused: Any, tmp_path: Path
) -> None:
    config = tmp_path / "rerank.toml"
    config.write_text(f"{name} = {value}" if isinstance(value, float) else f'{name} = "{value}"')

    assert name in refused("--config", str(config))


@pytest.mark.parametrize("name", ["instruct", "model", "url", "score-store", "column"])
def test_bytes_that_are_not_utf8_are_refused(
    name: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_command_line = refused(f"--{name}", "a=\udcff")
    monkeypatch.setenv(f"RERANK_RUN_{name}".upper().replace("-", "_"), "a=\udcff")

    assert f"--{name}" in on_command_line
    assert "UTF-8" in on_command_line
    assert "UTF-8" in refused()


@pytest.mark.parametrize(
    "key", ["", "  ", "sk-one\nsk-two", "sk-\u00fcber", "sk-\udcff", "sk-\x1b[0m"]
)
def test_a_key_that_cannot_be_sent_is_refused_and_not_shown(
    key: str, refused: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", key)

    line = refused("--api-key-env", "MY_KEY")

    assert "MY_KEY" in line
    assert "sk-" not in line


@pytest.mark.parametrize(
    "options",
    [
        ("--url", "http://user:secret@127.0.0.1/"),
        ("--url", "http://h:99999/"),
        ("--model", "\udcff"),
    ],
)
def test_the_doctor_refuses_it_too(
    options: tuple[str, ...], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DASHSCOPE_API_KEY", KEY)

    assert main(["doctor", *options]) == 2

    out, err = capsys.readouterr()
    assert options[0] in err
    assert len(err.splitlines()) == 1
    assert "secret" not in out + err
