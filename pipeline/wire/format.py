"""What a wire format is, and the checks that every answer passes.

Scores are matched by `index`, never by place, and an answer is taken whole or not at all: one
finite number for each document. Nothing that is missing is made up.
"""

from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import numpy as np
import orjson

from pipeline.errors import BadAnswer, shorten
from pipeline.records import FloatArray, Request, Scores
from pipeline.wire.refusals import Clean, classify, is_error

Encode = Callable[[Request, str, str | None], bytes]
"""Request, model, instruct -> body."""

FindResults = Callable[[dict[str, Any]], Any]
"""The answer's object -> its list of `{index, relevance_score}`."""

_INDEX_AND_SCORE = itemgetter("index", "relevance_score")


@dataclass(frozen=True, slots=True)
class WireFormat:
    """One way to ask and to answer.

    Attributes:
        name: As a provider names it.
        encode: Writes a request's body; always asks for the score of every document.
        find_results: Where an answer holds its results.
    """

    name: str
    encode: Encode
    find_results: FindResults

    def decode(self, body: bytes, num_documents: int, *, clean: Clean = shorten) -> Scores:
        """The scores of an answer that came with status 200, in the request's order.

        Args:
            body: The whole answer.
            num_documents: How many documents were sent.
            clean: Makes a foreign message fit to be shown; used if the body tells an error.

        Raises:
            BadAnswer: if there is not exactly one finite score for each document.
            RequestError: of another class, if the body is an error after all.
            ServiceRefused: if that error is for good.
        """
        try:
            answer = orjson.loads(body)
        except orjson.JSONDecodeError as error:
            raise BadAnswer("not_json", f"{error.msg} at byte {error.pos}", status=200) from None
        if is_error(answer):
            raise classify(200, body, clean=clean)
        results = self.find_results(answer) if isinstance(answer, dict) else None
        if not isinstance(results, list):
            raise BadAnswer("no_results", "the answer holds no list of results", status=200)
        return Scores(
            _one_score_per_document(results, num_documents),
            total_tokens=_total_tokens(answer.get("usage")),
            response_id=str(answer.get("request_id") or answer.get("id") or ""),
        )


def _one_score_per_document(results: list[Any], num_documents: int) -> FloatArray:
    """Check the answer as a whole, not result by result: this runs for every request."""
    if len(results) != num_documents:
        raise _incomplete(f"{len(results)} results for {num_documents} documents")
    try:
        indices, numbers = zip(*map(_INDEX_AND_SCORE, results), strict=True)
    except (TypeError, KeyError):
        raise _incomplete("a result without index or relevance_score") from None
    # bool is an int, and 1.0 equals 1, but neither is an index
    if set(map(type, indices)) != {int} or sorted(indices) != list(range(num_documents)):
        raise _incomplete(f"indices that are not 0 to {num_documents - 1}, each once")
    if not set(map(type, numbers)) <= {int, float}:
        raise _incomplete("a score that is not a number")
    scores = np.empty(num_documents, dtype=np.float64)
    scores[list(indices)] = numbers
    if not np.isfinite(scores).all():
        raise _incomplete("a score that is not finite")
    return scores


def _incomplete(what: str) -> BadAnswer:
    return BadAnswer("incomplete_answer", what, status=200)


def _total_tokens(usage: Any) -> int | None:
    """What the service counted; `total_tokens`, `input_tokens` and `prompt_tokens` are all seen."""
    if not isinstance(usage, dict):
        return None
    total = usage.get("total_tokens")
    if total is None:
        parts = [usage.get(name) for name in ("input_tokens", "prompt_tokens", "output_tokens")]
        known = [part for part in parts if type(part) is int]
        total = sum(known) if known else None
    return total if type(total) is int and total >= 0 else None
