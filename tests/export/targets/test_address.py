"""`--to`: which system, and no credentials."""

import sys
from pathlib import Path

import pytest
from support.made_outputs import write_candidates, write_output
from support.real_runs import rerank_here

from pipeline.export.targets.address import engine_url


@pytest.fixture
def made(tmp_path: Path) -> Path:
    return write_output(write_candidates({"q": ["a"]}, tmp_path / "in.parquet"), tmp_path / "out")


@pytest.mark.parametrize(
    ("address", "url"),
    [
        ("elasticsearch://localhost", "http://localhost:9200"),
        ("elasticsearch://[::1]:9", "http://[::1]:9"),
        ("opensearch://search.example", "https://search.example:9200"),
        ("opensearch+http://search.example:80/es/", "http://search.example:80/es"),
    ],
)
def test_a_search_engine_is_spoken_to_by_https_but_on_this_machine(address: str, url: str) -> None:
    assert engine_url(address) == url


@pytest.mark.parametrize(
    "words",
    [
        ("mysql://host/db",),
        ("file.duckdb",),
        ("duckdb://file",),
        ("duckdb:///",),
        ("elasticsearch://",),
        ("elasticsearch+ftp://host",),
        ("postgresql://host:port/db",),
        ("duckdb:///x.db", "--index", "i"),
        ("elasticsearch://host", "--table", "t"),
        ("elasticsearch://host", "--index", "Upper"),
        ("duckdb:///x.db", "--table", "a.b.c"),
        ("duckdb:///x.db", "--table", ""),
    ],
)
def test_what_cannot_be_an_address_or_a_name_is_refused(words: tuple[str, ...], made: Path) -> None:
    address, *options = words

    assert rerank_here("load", made, "--to", address, *options).code == 2


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://me:hunter2@host/db",
        "postgresql://host/db?password=hunter2",
        "elasticsearch://me:hunter2@host",
        "elasticsearch://hunter2@host",
        "opensearch://host?api_key=hunter2",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(address: str, made: Path) -> None:
    ended = rerank_here("load", made, "--to", address)

    assert ended.code == 2
    assert "use " in ended.failure
    assert "hunter2" not in ended.out + ended.err


@pytest.mark.parametrize(
    ("address", "module", "extra"),
    [
        ("duckdb:///x.db", "duckdb", "duckdb"),
        ("postgresql:///db", "psycopg", "postgresql"),
        ("elasticsearch://h", "elasticsearch", "elasticsearch"),
        ("opensearch://h", "opensearchpy", "opensearch"),
    ],
)
def test_a_missing_extra_is_told_with_the_install_line(
    address: str, module: str, extra: str, made: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)

    ended = rerank_here("load", made, "--to", address)

    assert ended.code == 2
    assert f"pip install 'rerank-pipeline[{extra}]'" in ended.failure
