"""The official clients of Elasticsearch and OpenSearch against a strict server on loopback."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.bulk_server import BulkServer, bulk_server
from support.made_outputs import write_candidates, write_output
from support.real_runs import end, rerank_here, start, wait_until

from pipeline.core.errors import Interrupted

QUERIES = {"q2": ["a", "b", "c"], "q1": ["b"], "q3": ["x", "y"]}
ENGINES = pytest.mark.parametrize("engine", ["elasticsearch", "opensearch"])


@pytest.fixture
def made(tmp_path: Path) -> Path:
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet", topic=["secret words"] * 6)
    return write_output(candidates, tmp_path / "out", {"q2": [0.1, 0.3, 0.2]}, groups_per_part=1)


@pytest.fixture
def server() -> Iterator[BulkServer]:
    with bulk_server() as running:
        yield running


@ENGINES
def test_every_query_is_one_document_under_its_id(
    engine: str, made: Path, server: BulkServer
) -> None:
    ended = rerank_here("load", made, "--to", f"{engine}://{server.address}", "--json")

    assert ended.code == 0, ended.err
    assert (ended.facts["rows"], ended.facts["parts_loaded"]) == (6, 3)
    documents = server.documents["reranked"]
    assert list(documents) == list(QUERIES)
    assert [result["doc_id"] for result in documents["q2"]["results"]] == ["b", "c", "a"]
    assert set(server.written.values()) == {1}


@ENGINES
def test_a_second_load_sends_nothing_and_says_so(
    engine: str, made: Path, server: BulkServer
) -> None:
    command = ("load", made, "--to", f"{engine}://{server.address}", "--index", "ranked")
    assert rerank_here(*command).code == 0

    again = rerank_here(*command)

    assert "3 parts (remove " in again.out
    assert server.requests == 3


@ENGINES
def test_an_index_that_was_removed_is_loaded_again(
    engine: str, made: Path, server: BulkServer
) -> None:
    command = ("load", made, "--to", f"{engine}://{server.address}")
    assert rerank_here(*command).code == 0
    server.documents.clear()

    assert rerank_here(*command).code == 0

    assert list(server.documents["reranked"]) == list(QUERIES)


@ENGINES
def test_items_that_are_answered_with_429_are_sent_again_alone(
    engine: str, tmp_path: Path, server: BulkServer
) -> None:
    candidates = write_candidates(QUERIES, tmp_path / "in.parquet")
    output = write_output(candidates, tmp_path / "out", groups_per_part=10)
    server.throttled["q1"] = 1

    ended = rerank_here("load", output, "--to", f"{engine}://{server.address}")

    assert ended.code == 0, ended.err
    assert server.written == {"q2": 1, "q1": 1, "q3": 1}
    assert server.requests == 2


@ENGINES
def test_items_that_are_refused_are_told_by_id_and_reason_without_their_values(
    engine: str, made: Path, server: BulkServer
) -> None:
    server.refused["q1"] = {
        "type": "document_parsing_exception",
        "reason": "failed to parse field [topic] of type [long] in document with id 'q1'."
        " Preview of field's value: 'secret words'",
    }
    command = ("load", made, "--to", f"{engine}://{server.address}")

    ended = rerank_here(*command)

    assert ended.code == 4
    assert (
        "_id 'q1': 400 document_parsing_exception: failed to parse field [topic]" in ended.failure
    )
    assert "load.item_refused id=q1" in ended.err
    assert "secret words" not in ended.err
    assert list(server.documents["reranked"]) == ["q2"]

    server.refused.clear()
    assert rerank_here(*command).code == 0
    assert server.written == {"q2": 1, "q1": 1, "q3": 1}


@ENGINES
def test_a_reason_that_repeats_a_value_is_withheld(
    engine: str, made: Path, server: BulkServer
) -> None:
    server.refused["q1"] = {"type": "odd", "reason": "cannot take [SECRET  words]"}

    ended = rerank_here("load", made, "--to", f"{engine}://{server.address}")

    assert "odd" in ended.failure
    assert "secret" not in ended.err.lower()


@ENGINES
def test_a_lost_connection_is_tried_again(engine: str, made: Path, server: BulkServer) -> None:
    server.drops, server.statuses = 1, [503]

    ended = rerank_here("load", made, "--to", f"{engine}://{server.address}")

    assert ended.code == 0, ended.err
    assert "load.retried" in ended.err
    assert server.written == {"q2": 1, "q1": 1, "q3": 1}


@ENGINES
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_load_whose_request_is_not_answered(
    engine: str, number: signal.Signals, made: Path, server: BulkServer
) -> None:
    server.holds = True
    process = start("load", made, "--to", f"{engine}://{server.address}")
    wait_until(server.held.is_set)

    process.send_signal(number)
    ended = end(process)

    assert ended.code == 128 + number
    assert ended.err == f"rerank: error: {Interrupted(number)}\n"


@ENGINES
def test_an_answer_that_leaves_out_a_document_counts_as_none(
    engine: str, made: Path, server: BulkServer
) -> None:
    server.silent = {"q1"}

    ended = rerank_here(
        "load", made, "--to", f"{engine}://{server.address}", "--max-outage", "0.001"
    )

    assert ended.code == 8
    assert "does not tell of every document" in ended.failure


@ENGINES
def test_an_engine_that_is_not_there_ends_the_load_with_8(engine: str, made: Path) -> None:
    ended = rerank_here("load", made, "--to", f"{engine}://127.0.0.1:9", "--max-outage", "0.001")

    assert ended.code == 8
    assert "run the same command again" in ended.failure


@ENGINES
@pytest.mark.parametrize("status", [401, 403])
def test_credentials_that_are_refused_end_the_load_with_4(
    engine: str, status: int, made: Path, server: BulkServer
) -> None:
    server.statuses = [status]

    assert rerank_here("load", made, "--to", f"{engine}://{server.address}").code == 4


def test_keys_come_from_the_environment_and_are_told_nowhere(
    made: Path, server: BulkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ELASTICSEARCH_API_KEY", "key-that-nobody-may-see")

    ended = rerank_here("load", made, "--to", f"elasticsearch://{server.address}")

    assert ended.code == 0
    assert server.authorization == "ApiKey key-that-nobody-may-see"
    record = next((made / "_loads").iterdir()).read_text()
    assert "key-that" not in ended.out + ended.err + record


@ENGINES
@pytest.mark.parametrize(
    "answer",
    [
        {},
        [],
        {"errors": False},
        {"errors": True, "items": "abc"},
        {"errors": True, "items": [{"index": {"_id": "q2", "status": "x"}}]},
        {"errors": True, "items": [{"index": None}]},
    ],
)
def test_an_answer_that_is_none_of_a_search_engine_counts_as_an_outage(
    answer: object, engine: str, made: Path, server: BulkServer
) -> None:
    server.answers = [answer]

    ended = rerank_here("load", made, "--to", f"{engine}://{server.address}")

    assert ended.code == 0, ended.err
    assert "not that of a search engine" in ended.err
    assert set(server.documents["reranked"]) == set(QUERIES)
