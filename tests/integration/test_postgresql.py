"""Loads into a real PostgreSQL: every row once, and nothing half loaded."""

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from support.made_outputs import write_candidates, write_output
from support.postgresql import Postgresql, postgresql
from support.real_runs import Ended, end, killed, rerank_here, start, wait_until

QUERIES = {"q2": ["a", "b", "c"], "q1": ["b"], "q3": ["x", "y"]}


@pytest.fixture(scope="module")
def running() -> Iterator[Postgresql]:
    with postgresql() as server:
        yield server


@pytest.fixture
def server(running: Postgresql) -> Postgresql:
    running.query("DROP SCHEMA public CASCADE")
    running.query("CREATE SCHEMA public")
    return running


@pytest.fixture
def made(tmp_path: Path) -> Path:
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet")
    return write_output(candidates, tmp_path / "out", {"q2": [0.1, 0.3, 0.2]}, groups_per_part=1)


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """Return an output of 40 parts of 5,000 rows."""
    queries = {f"q{n}": [f"d{k}" for k in range(50)] for n in range(4_000)}
    candidates = write_candidates(queries, tmp_path / "large.parquet")
    return write_output(candidates, tmp_path / "large", groups_per_part=100)


def load(output: Path, server: Postgresql, *options: object) -> dict[str, Any]:
    ended = rerank_here("load", output, "--to", server.address, "--json", *options)
    assert ended.code == 0, ended.err
    return ended.facts


def loaded_parts(output: Path) -> int:
    records = list((output / "_loads").glob("postgresql-*.json"))
    return len(json.loads(records[0].read_text())["parts"]) if records else 0


def count(server: Postgresql) -> tuple[int, int]:
    ((rows, keys),) = server.query(
        "SELECT count(*), count(DISTINCT (query_id, doc_id)) FROM reranked"
    )
    return rows, keys


def test_every_row_is_in_the_table_once(made: Path, server: Postgresql) -> None:
    facts = load(made, server)

    assert (facts["rows"], facts["parts_loaded"]) == (6, 3)
    assert server.query("SELECT query_id, doc_id, rank FROM reranked ORDER BY 1, 3") == [
        ("q1", "b", 1),
        *(("q2", doc_id, rank) for rank, doc_id in enumerate("bca", start=1)),
        *(("q3", doc_id, rank) for rank, doc_id in enumerate("xy", start=1)),
    ]


def test_every_type_has_its_column(tmp_path: Path, server: Postgresql) -> None:
    values: dict[str, Any] = {
        "big": (pa.array([2**63 - 1, None]), "bigint"),
        "unsigned": (pa.array([2**64 - 1, 0], pa.uint64()), "numeric(20,0)"),
        "small": (pa.array([-7, None], pa.int8()), "smallint"),
        "single": (pa.array([0.5, None], pa.float32()), "real"),
        "odd": (pa.array([float("inf"), -0.0]), "double precision"),
        "yes": (pa.array([True, None]), "boolean"),
        "day": (pa.array([date(2026, 11, 1), None]), "date"),
        "hour": (pa.array([time(1, 2, 3), None]), "time without time zone"),
        "lasts": (pa.array([timedelta(days=-1, seconds=1), None]), "interval"),
        "plain": (pa.array([datetime(2026, 11, 1, 2), None]), "timestamp without time zone"),
        "moment": (
            pa.array([datetime(2026, 11, 1, 2, 3, 4, 5, UTC), None]),
            "timestamp with time zone",
        ),
        "price": (pa.array([Decimal("1.50"), None]), "numeric(3,2)"),
        "raw": (pa.array([b"\x00\xff", b""]), "bytea"),
        "tags": (pa.array([["a", None], []]), "jsonb"),
        "box": (pa.array([{"n": 1, "s": 'a"\\'}, None]), "jsonb"),
        'odd "name"': (pa.array(["NULL", "\\."]), "text"),
        "lines": (pa.array(["a\n\\.\nb,c\r", ""]), "text"),
    }
    columns = {name: column for name, (column, _) in values.items()}
    candidates = write_candidates({"q": ["a", "b"]}, tmp_path / "in.parquet", **columns)
    output = write_output(candidates, tmp_path / "out")

    load(output, server, "--table", "public.reranked")

    with psycopg.connect(server.address) as connection:
        cursor = connection.execute("SELECT * FROM reranked ORDER BY rank")
        rows = cursor.fetchall()
        found = [description.name for description in cursor.description or ()]
    for name, column in columns.items():
        assert [row[found.index(name)] for row in rows] == column.to_pylist(), name
    types = dict(
        server.query(
            "SELECT attname::text, format_type(atttypid, atttypmod) FROM pg_attribute"
            " WHERE attrelid = 'reranked'::regclass AND attnum > 0"
        )
    )
    assert {name: types[name] for name in columns} == {
        name: kind for name, (_, kind) in values.items()
    }
    assert load(output, server, "--table", "public.reranked")["parts_before"] == 1


@pytest.mark.parametrize(("mode", "left"), [("upsert", 4), ("replace", 2)])
def test_replace_removes_the_rows_of_reloaded_queries_that_are_gone(
    mode: str, left: int, tmp_path: Path, server: Postgresql
) -> None:
    old = {"q": ["a", "b", "c"], "other": ["z"]}
    before = write_output(write_candidates(old, tmp_path / "old.parquet"), tmp_path / "old")
    after = write_output(write_candidates({"q": ["a"]}, tmp_path / "n.parquet"), tmp_path / "new")
    load(before, server)

    load(after, server, "--mode", mode)

    assert count(server) == (left, left)


def test_of_a_doc_id_that_comes_twice_the_best_place_is_kept_and_counted(
    tmp_path: Path, server: Postgresql
) -> None:
    candidates = write_candidates({"q": ["a", "b", "a"]}, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", {"q": [0.1, 0.4, 0.5]})

    assert load(output, server)["repeated"] == 1
    assert server.query("SELECT doc_id, rank FROM reranked ORDER BY 2") == [("a", 1), ("b", 2)]


def test_a_table_that_was_dropped_or_lost_rows_is_loaded_anew(
    made: Path, server: Postgresql
) -> None:
    load(made, server)
    assert load(made, server)["parts_before"] == 3
    for statement in ("DROP TABLE reranked", "DELETE FROM reranked WHERE query_id = 'q2'"):
        server.query(statement)

        assert load(made, server)["parts_loaded"] == 3
        assert count(server) == (6, 6)


@pytest.mark.parametrize(
    ("table", "told"),
    [
        ("query_id text, doc_id bigint, rank int", "doc_id is bigint there, text here"),
        (
            "query_id text, doc_id text, rank int, relevance_score float8, first_stage_rank int",
            "no primary key",
        ),
    ],
)
def test_a_table_with_other_columns_or_without_the_key_is_refused(
    table: str, told: str, made: Path, server: Postgresql
) -> None:
    server.query(f"CREATE TABLE reranked ({table})")

    ended = rerank_here("load", made, "--to", server.address)

    assert ended.code == 5
    assert told in ended.failure


def test_a_nul_is_told_by_column_and_query_and_nothing_is_loaded(
    tmp_path: Path, server: Postgresql
) -> None:
    note = pa.array(["fine", "secret\0words"])
    candidates = write_candidates({"q1": ["a"], "q2": ["b"]}, tmp_path / "in.parquet", note=note)
    output = write_output(candidates, tmp_path / "out")

    ended = rerank_here("load", output, "--to", server.address)

    assert ended.code == 3
    assert "query 'q2': column note holds a NUL" in ended.failure
    assert "secret" not in ended.err
    assert count(server) == (0, 0)


@pytest.mark.parametrize(
    ("user", "database", "code"), [("nobody", "postgres", 4), ("rerank", "nowhere", 4)]
)
def test_a_login_that_is_refused_ends_the_load_with_4(
    user: str, database: str, code: int, made: Path, server: Postgresql
) -> None:
    address = f"postgresql://{user}@127.0.0.1:{server.port}/{database}"

    ended = rerank_here("load", made, "--to", address)

    assert ended.code == code
    assert "PGPASSWORD" in ended.failure


def test_a_missing_right_ends_the_load_with_4(made: Path, server: Postgresql) -> None:
    load(made, server)
    if not server.query("SELECT 1 FROM pg_roles WHERE rolname = 'guest'"):
        server.query("CREATE ROLE guest LOGIN")
    server.query("GRANT USAGE ON SCHEMA public TO guest")
    server.query("GRANT SELECT ON reranked TO guest")
    for record in (made / "_loads").iterdir():
        record.unlink()

    address = f"postgresql://guest@127.0.0.1:{server.port}/postgres"
    ended = rerank_here("load", made, "--to", address)

    assert ended.code == 4
    assert "permission denied" in ended.failure


def test_a_server_that_is_not_there_ends_the_load_with_8(made: Path) -> None:
    address = "postgresql://rerank@127.0.0.1:9/postgres"

    ended = rerank_here("load", made, "--to", address, "--max-outage", "0.001")

    assert ended.code == 8


def test_a_load_that_is_killed_goes_on_with_the_next_part(large: Path, server: Postgresql) -> None:
    process = start("load", large, "--to", server.address)
    wait_until(lambda: loaded_parts(large) > 5)
    killed(process)
    facts = load(large, server)

    assert facts["parts_before"] > 5
    assert facts["parts_loaded"] + facts["parts_before"] == 40
    assert count(server) == (200_000, 200_000)


def test_loads_at_the_same_time_leave_every_row_once(made: Path, server: Postgresql) -> None:
    loads = [start("load", made, "--to", server.address, "--mode", "replace") for _ in range(4)]

    ended = [end(process) for process in loads]

    assert [one.code for one in ended] == [0] * 4, [one.err for one in ended]
    assert count(server) == (6, 6)


def test_a_signal_ends_a_load_in_order(large: Path, server: Postgresql) -> None:
    process = start("load", large, "--to", server.address)
    wait_until(lambda: loaded_parts(large) > 2)
    process.terminate()

    assert end(process).code == 143
    rows, _ = count(server)
    assert rows % 5_000 == 0
    load(large, server)
    assert count(server) == (200_000, 200_000)


def test_a_server_that_restarts_half_way_is_waited_for(large: Path, server: Postgresql) -> None:
    process = start("load", large, "--to", server.address)
    wait_until(lambda: loaded_parts(large) > 2)
    server.stop(at_once=True)
    server.start()

    ended = end(process)

    assert ended.code == 0, ended.err
    assert "load.retried" in ended.err
    assert count(server) == (200_000, 200_000)


def test_a_connection_that_is_cut_within_a_part_leaves_nothing_half_loaded(
    tmp_path: Path, server: Postgresql
) -> None:
    queries = {f"q{n}": [f"d{k}" for k in range(100)] for n in range(1_000)}
    candidates = write_candidates(queries, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", groups_per_part=1_000)
    with _cutting_proxy(server.port, after_bytes=1_000_000) as (port, cut):
        address = f"postgresql://rerank@127.0.0.1:{port}/postgres"
        ended = _load_through(output, address, cut, server)

    assert ended.code == 0, ended.err
    assert "load.retried" in ended.err
    assert count(server) == (100_000, 100_000)


def _load_through(output: Path, address: str, cut: threading.Event, server: Postgresql) -> Ended:
    process = start("load", output, "--to", address)
    wait_until(cut.is_set)
    assert count(server) == (0, 0)
    return end(process)


@contextmanager
def _cutting_proxy(port: int, after_bytes: int) -> Iterator[tuple[int, threading.Event]]:
    """Pass connections on; cut the first that sends so many bytes."""
    listener = socket.create_server(("127.0.0.1", 0))
    cut = threading.Event()
    opened = [listener]

    def pass_on(source: socket.socket, sink: socket.socket, *, counted: bool) -> None:
        sent = 0
        try:
            while content := source.recv(65_536):
                sent += len(content)
                if counted and sent > after_bytes and not cut.is_set():
                    cut.set()
                    break
                sink.sendall(content)
        except OSError:
            pass
        for end_of in (source, sink):
            try:
                end_of.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def accept() -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            upstream = socket.create_connection(("127.0.0.1", port))
            opened.extend((client, upstream))
            for pair, counted in (((client, upstream), True), ((upstream, client), False)):
                threading.Thread(
                    target=pass_on, args=pair, kwargs={"counted": counted}, daemon=True
                ).start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1], cut
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        accepting.join()
        for one in opened:
            one.close()
