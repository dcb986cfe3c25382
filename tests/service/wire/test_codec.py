"""Request bodies and answers of each wire format, and the checks that an answer must pass."""

import json

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.errors import BadAnswer, RerankError, ServiceRefused, Throttled
from pipeline.core.providers import PROVIDERS
from pipeline.core.records import Request
from pipeline.service.wire.formats import WIRE_FORMATS
from pipeline.service.wire.redaction import redact


def request_of(*documents: str, query: str = "a query") -> Request:
    return Request(
        query=query,
        documents=list(documents),
        tokens=10,
        key=b"0" * 16,
        document_keys=np.zeros(len(documents), np.uint64),
        query_id="q1",
    )


def nested_answer(results: object, **more: object) -> bytes:
    return orjson.dumps({"output": {"results": results}, "request_id": "r1", **more})


def scored(*scores: float) -> list[dict[str, object]]:
    return [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]


def decode(body: bytes, num_documents: int):
    return WIRE_FORMATS["dashscope"].decode(body, num_documents)


def test_every_provider_names_a_wire_format_that_exists() -> None:
    assert {provider.wire_format for provider in PROVIDERS.values()} <= set(WIRE_FORMATS)


def test_the_native_request_is_nested_and_asks_for_every_score() -> None:
    body = WIRE_FORMATS["dashscope"].encode(request_of("a", "ü"), "qwen3-rerank", "rank well")

    assert orjson.loads(body) == {
        "model": "qwen3-rerank",
        "input": {"query": "a query", "documents": ["a", "ü"]},
        "parameters": {"top_n": 2, "return_documents": False, "instruct": "rank well"},
    }


def test_the_compatible_request_is_flat() -> None:
    body = WIRE_FORMATS["dashscope-compatible"].encode(request_of("a"), "qwen3-rerank", "rank")

    assert orjson.loads(body) == {
        "model": "qwen3-rerank",
        "query": "a query",
        "documents": ["a"],
        "top_n": 1,
        "instruct": "rank",
    }


def test_vtrix_takes_a_flat_request() -> None:
    body = WIRE_FORMATS["vtrix"].encode(request_of("a"), "qwen3-rerank", None)

    assert orjson.loads(body) == {
        "model": "qwen3-rerank",
        "query": "a query",
        "documents": ["a"],
        "top_n": 1,
        "return_documents": False,
    }


@pytest.mark.parametrize("name", WIRE_FORMATS)
def test_no_instruct_is_sent_as_none_at_all(name) -> None:
    assert b"instruct" not in WIRE_FORMATS[name].encode(request_of("a"), "m", None)


@pytest.mark.parametrize("name", ["dashscope", "vtrix"])
def test_nested_answers_are_read(name) -> None:
    scores = WIRE_FORMATS[name].decode(nested_answer(scored(0.5, 0.25)), 2)

    assert scores.scores.tolist() == [0.5, 0.25]
    assert scores.response_id == "r1"


def test_flat_answers_are_read() -> None:
    body = orjson.dumps({"object": "list", "results": scored(0.5), "id": "i1"})

    scores = WIRE_FORMATS["dashscope-compatible"].decode(body, 1)

    assert scores.scores.tolist() == [0.5]
    assert scores.response_id == "i1"


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.randoms())
def test_scores_are_matched_by_index_whatever_their_order(numbers, random) -> None:
    results = scored(*numbers)
    random.shuffle(results)

    assert decode(nested_answer(results), len(numbers)).scores.tolist() == numbers


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"total_tokens": 79}, 79),
        ({"prompt_tokens": 79, "total_tokens": 80}, 80),
        ({"input_tokens": 1279}, 1279),
        ({"prompt_tokens": 12}, 12),
        ({}, None),
        (None, None),
        ("79", None),
        ({"total_tokens": "79"}, None),
        ({"total_tokens": -1}, None),
    ],
)
def test_usage_is_read_leniently(usage, tokens) -> None:
    assert decode(nested_answer(scored(0.5), usage=usage), 1).total_tokens == tokens


@pytest.mark.parametrize(
    "results",
    [
        [],
        scored(0.5),
        scored(0.5, 0.4, 0.3),
        [{"index": 0, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 2, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": -1, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": True, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1.0, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": None}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": "0.4"}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1}],
        [{"index": 0, "relevance_score": 0.5}, None],
        None,
        {"index": 0},
    ],
)
def test_an_answer_that_is_not_one_score_per_document_is_bad(results) -> None:
    with pytest.raises(BadAnswer):
        decode(nested_answer(results), 2)


odd_values = (
    st.none() | st.booleans() | st.integers(-2, 4) | st.floats() | st.sampled_from(["1", []])
)
odd_results = st.lists(
    st.fixed_dictionaries(
        {}, optional={"index": odd_values | st.integers(0, 2), "relevance_score": odd_values}
    )
    | st.none(),
    max_size=4,
)


@settings(max_examples=300)
@given(
    answer=st.fixed_dictionaries(
        {},
        optional={
            "output": st.fixed_dictionaries({"results": odd_results}) | odd_values,
            "results": odd_results | odd_values,
            "usage": odd_values,
            "request_id": odd_values,
            "code": st.sampled_from(["", "InvalidApiKey", "Throttling"]),
        },
    ),
    name=st.sampled_from(sorted(WIRE_FORMATS)),
    num_documents=st.integers(1, 3),
)
def test_an_answer_means_the_same_read_quickly_or_with_care(answer, name, num_documents) -> None:
    def outcome(read) -> object:
        try:
            scores = read(json.dumps(answer).encode(), num_documents, clean=str)
        except RerankError as error:
            return type(error), str(error)
        return scores.scores.tolist(), scores.total_tokens, scores.response_id

    wire = WIRE_FORMATS[name]

    assert outcome(wire.decode) == outcome(wire.decode_with_care)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"output":{"results":' + b"[" * 100_000, b'{"output":"\xff"}']
)
def test_a_body_that_is_made_to_break_a_reader_is_bad(body) -> None:
    with pytest.raises(BadAnswer):
        decode(body, 1)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_a_score_that_is_not_finite_is_bad(number) -> None:
    body = b'{"output":{"results":[{"index":0,"relevance_score":' + number + b"}]}}"

    with pytest.raises(BadAnswer):
        decode(body, 1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"<html>", b'{"results":[]}'])
def test_what_is_no_answer_is_bad(body) -> None:
    with pytest.raises(BadAnswer):
        decode(body, 1)


def test_an_error_body_at_status_200_is_an_error() -> None:
    with pytest.raises(ServiceRefused):
        decode(b'{"code":"InvalidApiKey","message":"Invalid API-key provided."}', 1)
    with pytest.raises(Throttled):
        decode(b'{"error":{"code":"limit_requests","message":""}}', 1)


def test_an_empty_code_beside_the_results_is_no_error() -> None:
    body = nested_answer(scored(0.5), code="", message="")

    assert decode(body, 1).scores.tolist() == [0.5]


SECRET = "the patient of room twelve is called Erika Mustermann"


@pytest.mark.parametrize(
    "message",
    [
        f"cannot read {SECRET}",
        f"cannot read {SECRET[:30]}",
        f"cannot read {SECRET.replace(' ', chr(10))}",
        "a query of: cats?",
        "key sk-123 is wrong",
    ],
)
def test_a_message_that_repeats_the_request_or_the_key_is_withheld(message) -> None:
    request = request_of("other", SECRET, query="cats?")

    shown = redact(message, request, "sk-123")

    assert "withheld" in shown
    assert "Erika" not in shown
    assert "sk-123" not in shown


def test_other_messages_are_shown() -> None:
    message = "batch size of documents is invalid"

    assert redact(message, request_of("a", "ü", SECRET), None) == message
