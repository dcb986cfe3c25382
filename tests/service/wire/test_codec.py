"""The checks that every answer must pass, and answers of other shapes than the usual ones."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.errors import BadAnswer, IncompleteAnswer, ServiceRefused, shorten
from pipeline.core.records import Scores
from pipeline.service.wire.answer_shapes import ARRAY, FLAT, NESTED, AnswerShape
from pipeline.service.wire.codec import NO_COUNT, decode, decode_carefully
from pipeline.service.wire.refusals import RefusalCodes

CODES = RefusalCodes(refused=frozenset({"no_money"}))


def read(body: bytes, num_documents: int, shape: AnswerShape = FLAT) -> Scores:
    return decode(body, num_documents, shape=shape, codes=CODES, clean=shorten)


def flat_answer(results: object, **more: object) -> bytes:
    return orjson.dumps({"results": results, **more})


def scored(*scores: float) -> list[dict[str, object]]:
    return [{"index": index, "relevance_score": score} for index, score in enumerate(scores)]


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1), st.randoms())
def test_scores_are_matched_by_index_whatever_their_order(numbers, random) -> None:
    results = scored(*numbers)
    random.shuffle(results)

    assert read(flat_answer(results), len(numbers)).scores.tolist() == numbers


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"total_tokens": 79}, 79),
        ({"prompt_tokens": 79, "total_tokens": 80}, 80),
        ({"input_tokens": 1279}, 1279),
        ({"prompt_tokens": 12}, 12),
        ({"input_tokens": 12, "output_tokens": 3}, 15),
        ({}, None),
        (None, None),
        ("79", NO_COUNT),
        ({"total_tokens": "79"}, NO_COUNT),
        ({"total_tokens": True}, NO_COUNT),
        ({"total_tokens": 79.5}, NO_COUNT),
        ({"total_tokens": 79.0}, 79),
        ({"total_tokens": -5}, -5),
        ({"total_tokens": None}, None),
        ({"prompt_tokens": "79"}, NO_COUNT),
    ],
)
def test_usage_is_read_leniently(usage, tokens) -> None:
    assert read(flat_answer(scored(0.5), usage=usage), 1).total_tokens == tokens


@pytest.mark.parametrize(
    ("names", "response_id"),
    [({"id": "i"}, "i"), ({"request_id": "r", "id": "i"}, "r"), ({"id": 7}, "7"), ({}, "")],
)
def test_the_name_of_the_answer_is_kept(names, response_id) -> None:
    assert read(flat_answer(scored(0.5), **names), 1).response_id == response_id


@pytest.mark.parametrize(
    "results",
    [
        [],
        scored(0.5, 0.4, 0.3),
        [{"index": 0, "relevance_score": 0.5}, {"index": 0, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 2, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": -1, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": True, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1.0, "relevance_score": 0.4}],
        [{"index": 0, "relevance_score": None}, {"index": 1, "relevance_score": None}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 0, "relevance_score": None}],
        [{"index": 2, "relevance_score": 0.5}],
        [{"index": 0, "relevance_score": None}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1, "relevance_score": "0.4"}],
        [{"index": 0, "relevance_score": 0.5}, {"index": 1}],
        [{"index": 0, "relevance_score": 0.5}, None],
        None,
        {"index": 0},
    ],
)
def test_an_answer_that_is_not_one_score_per_document_is_bad(results) -> None:
    with pytest.raises(BadAnswer) as caught:
        read(flat_answer(results), 2)

    assert type(caught.value) is BadAnswer


@given(
    st.lists(st.none() | st.floats(allow_nan=False, allow_infinity=False), min_size=2), st.data()
)
def test_a_valid_answer_without_some_documents_keeps_the_scores_of_the_others(
    numbers, data
) -> None:
    missing = [place for place, number in enumerate(numbers) if number is None]
    dropped = data.draw(st.sets(st.sampled_from(missing))) if missing else set()
    results = [one for place, one in enumerate(scored(*numbers)) if place not in dropped]
    data.draw(st.randoms()).shuffle(results)
    body = flat_answer(results, usage={"total_tokens": 7})
    if len(missing) == len(numbers):
        with pytest.raises(BadAnswer, match=r"incomplete_answer: ") as bad:
            read(body, len(numbers))
        assert type(bad.value) is BadAnswer
    elif missing:
        with pytest.raises(IncompleteAnswer) as caught:
            read(body, len(numbers))
        kept = [None if np.isnan(score) else score for score in caught.value.scores.tolist()]
        assert kept == numbers
        assert caught.value.total_tokens == 7
        left = len(numbers) - len(dropped)
        what = f"{left} results for {len(numbers)} documents" if dropped else "a score that is null"
        assert caught.value.message == what
    else:
        assert read(body, len(numbers)).scores.tolist() == numbers


def test_a_byte_order_mark_before_an_answer_is_skipped() -> None:
    answer = flat_answer(scored(0.5, 0.25), usage={"total_tokens": 3}, id="i")

    scores = read(b"\xef\xbb\xbf" + answer, 2)

    assert (scores.scores.tolist(), scores.total_tokens, scores.response_id) == (
        [0.5, 0.25],
        3,
        "i",
    )


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"", "not_json: an empty body"),
        (b" <!doctype html>", "not_json: a page of HTML or XML"),
        (b"a secret", "not_json: unexpected character, expected a JSON value at byte 0"),
        (b"[1]", "no_results: no list of results in results, but an array"),
        (b'{"data":[],"model":"m","a key!":1}', "but an object with data, model"),
        (b'{"a secret":1}', "no_results: no list of results in results, but an object"),
    ],
)
def test_what_came_instead_of_scores_is_said_without_a_word_of_it(body, what) -> None:
    with pytest.raises(BadAnswer) as caught:
        read(body, 1)

    assert what in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"output":{"results":' + b"[" * 100_000, b'{"output":"\xff"}']
)
@pytest.mark.parametrize("shape", [FLAT, NESTED])
def test_a_body_that_is_made_to_break_a_reader_is_bad(body, shape) -> None:
    with pytest.raises(BadAnswer):
        read(body, 1, shape)


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"1e999"])
def test_a_score_that_is_not_finite_is_bad(number) -> None:
    with pytest.raises(BadAnswer):
        read(b'{"results":[{"index":0,"relevance_score":' + number + b"}]}", 1)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"<html>", b'{"results":[]}'])
def test_a_body_that_is_no_answer_is_bad(body) -> None:
    with pytest.raises(BadAnswer):
        read(body, 1)


def test_an_error_body_at_status_200_is_that_error() -> None:
    with pytest.raises(ServiceRefused):
        read(b'{"code":"no_money","message":""}', 1)


def test_an_empty_code_beside_the_results_is_no_error() -> None:
    assert read(flat_answer(scored(0.5), code="", message=""), 1).scores.tolist() == [0.5]


@pytest.mark.parametrize("how", [decode, decode_carefully])
def test_an_answer_may_be_a_bare_array_with_another_name_of_the_score(how) -> None:
    answer: list[dict[str, Any]] = [{"index": 1, "score": -3.5}, {"index": 0, "score": 2.25}]

    scores = how(orjson.dumps(answer), 2, shape=ARRAY, codes=CODES, clean=shorten)

    assert scores.scores.tolist() == [2.25, -3.5]
    assert scores.total_tokens is None
    assert scores.response_id == ""


def test_what_is_wrong_with_an_answer_is_said_in_its_own_names() -> None:
    with pytest.raises(BadAnswer, match="a result without index or score"):
        read(b'[{"index": 0, "relevance_score": 1.0}]', 1, ARRAY)
