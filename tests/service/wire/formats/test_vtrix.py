"""Vtrix: body, answer, refusals."""

import orjson
import pytest
from support.client_bench import request_of
from support.dashscope_refusals import LIMITS, REFUSALS, compatible_error, native_error

from pipeline.core.errors import Throttled
from pipeline.service.wire.formats.vtrix import VTRIX


def test_the_request_is_flat() -> None:
    body = VTRIX.encode(request_of("a", query="a query"), "qwen3-rerank", "rank")

    assert orjson.loads(body) == {
        "model": "qwen3-rerank",
        "query": "a query",
        "documents": ["a"],
        "top_n": 1,
        "return_documents": False,
        "instruct": "rank",
    }


def test_the_answer_is_nested() -> None:
    body = orjson.dumps(
        {
            "request_id": "r1",
            "output": {"results": [{"index": 0, "relevance_score": 0.5}]},
            "usage": {"total_tokens": 9},
        }
    )

    scores = VTRIX.decode(body, 1)

    assert scores.scores.tolist() == [0.5]
    assert scores.total_tokens == 9
    assert scores.response_id == "r1"


@pytest.mark.parametrize("envelope", [native_error, compatible_error])
@pytest.mark.parametrize(("status", "code", "message", "expected"), REFUSALS)
def test_every_documented_code_has_its_class(status, code, message, expected, envelope) -> None:
    assert type(VTRIX.classify(status, envelope(code, message))) is expected


@pytest.mark.parametrize(("code", "message", "limit"), LIMITS)
def test_the_code_of_a_429_says_which_limit_it_protects(code, message, limit) -> None:
    error = VTRIX.classify(429, native_error(code, message))

    assert isinstance(error, Throttled)
    assert error.limit == limit
