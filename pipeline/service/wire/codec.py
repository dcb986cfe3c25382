"""Read the scores of an answer, with the checks that every answer must pass.

Scores are matched by index, never by place: one finite number for each document. No missing score
is made up: an answer that is valid but lacks some scores is an error that holds the others.

A valid answer, as nearly all are, is decoded by its types in a third of the time. Any other is
decoded again field by field, to say what is wrong with it.
"""

import math
import re
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, Final

import msgspec
import numpy as np
import orjson

from pipeline.core.arrays import FloatArray
from pipeline.core.errors import BadAnswer, IncompleteAnswer
from pipeline.core.records import Scores
from pipeline.service.wire.answer_shapes import AnswerShape, Result, find
from pipeline.service.wire.error_body import is_error, load_json
from pipeline.service.wire.refusals import Clean, RefusalCodes, classify

_NAME: Final = re.compile(r"[A-Za-z_]{1,24}")
_MAX_NAMES: Final = 6
"""How many field names are shown of an answer in a wrong shape."""

NO_COUNT: Final = -1
"""Stands for a token count that is not a whole number; no request can have it."""


def decode(
    body: bytes, num_documents: int, *, shape: AnswerShape, codes: RefusalCodes, clean: Clean
) -> Scores:
    """Return the scores of an answer that came with status 200, in the request's order.

    Args:
        body: The whole answer.
        num_documents: How many documents were sent.
        shape: Where the answer holds its scores.
        codes: The service's error codes, for a body that is an error after all.
        clean: Makes the service's message in such a body fit to be shown.

    Raises:
        IncompleteAnswer: if some documents have no score, but the answer is valid otherwise.
        BadAnswer: if there is not exactly one finite score for each document.
        RequestError: of another class, if the body is an error.
        ServiceRefused: if that error is for good.
    """
    scores = None
    try:
        answer = shape.decode_valid(body)
        scores = _place(answer.results, num_documents)
    except (msgspec.MsgspecError, ValueError, IndexError, TypeError, RecursionError):
        pass  # `decode_carefully` says what is wrong
    if scores is None:
        return decode_carefully(body, num_documents, shape=shape, codes=codes, clean=clean)
    return Scores(
        scores,
        total_tokens=_total_tokens(answer.usage, shape),
        response_id=str(answer.response_id or ""),
        search_units=_search_units(answer.search_units),
    )


def decode_carefully(
    body: bytes, num_documents: int, *, shape: AnswerShape, codes: RefusalCodes, clean: Clean
) -> Scores:
    """Do what `decode` does, field by field: the same scores, or the error."""
    try:
        answer = load_json(body)
    except orjson.JSONDecodeError as error:
        raise BadAnswer("not_json", _describe_text(body, error), status=200) from None
    if is_error(answer, results_keys=shape.results[:1]):
        raise classify(200, body, codes=codes, clean=clean)
    results = find(answer, shape.results)
    if not isinstance(results, list):
        wanted = ".".join(shape.results) or "the body"
        what = f"no list of results in {wanted}, but {_describe_value(answer)}"
        raise BadAnswer("no_results", clean(what), status=200)
    facts = answer if isinstance(answer, dict) else {}
    total_tokens = _total_tokens(find(answer, shape.usage), shape)
    scores = _one_score_per_document(results, num_documents, shape)
    if np.isnan(scores).any():
        is_short = len(results) < num_documents
        what = _count(results, num_documents) if is_short else "a score that is null"
        raise IncompleteAnswer(scores, total_tokens, what)
    names = (facts.get(key) for key in shape.response_id)
    return Scores(
        scores,
        total_tokens=total_tokens,
        response_id=str(next(filter(None, names), "")),
        search_units=_search_units(find(answer, shape.search_units))
        if shape.search_units
        else None,
    )


def _place(results: Sequence[Result], num_documents: int) -> FloatArray | None:
    """Return the scores by their documents' places, if there is one finite score for each.

    Raises:
        IndexError: for a document that was not sent.
        TypeError: for a document without a score.
    """
    placed: list[Any] = [None] * num_documents
    for result in results:
        placed[result.index] = result.score
    is_whole = len(results) == num_documents and math.isfinite(sum(placed))
    return np.array(placed, dtype=np.float64) if is_whole else None


def _one_score_per_document(
    results: list[Any], num_documents: int, shape: AnswerShape
) -> FloatArray:
    """Return the scores by their documents' places, NaN where there is none, or say what is wrong.

    Documents may be absent, or have a null for a score, but not all of them.
    """
    if not results or len(results) > num_documents:
        raise _invalid(_count(results, num_documents))
    try:
        read = itemgetter(shape.index, shape.score)
        pairs = [(index, number) for index, number in map(read, results) if number is not None]
        indices = [result[shape.index] for result in results]
    except (TypeError, KeyError):
        raise _invalid(f"a result without {shape.index} or {shape.score}") from None
    # bool is an int, and 1.0 equals 1, but neither is an index
    if not set(map(type, indices)) <= {int} or not set(indices) <= set(range(num_documents)):
        raise _invalid(f"an index that is not from 0 to {num_documents - 1}")
    if len(set(indices)) < len(indices):
        raise _invalid("an index that occurs twice")
    if not pairs:
        raise _invalid("all scores are null")
    if not {type(number) for _, number in pairs} <= {int, float}:
        raise _invalid("a score that is not a number")
    scores = np.full(num_documents, np.nan)
    scores[[index for index, _ in pairs]] = [number for _, number in pairs]
    if np.isfinite(scores).sum() < len(pairs):
        raise _invalid("a score that is not finite")
    return scores


def _count(results: list[Any], num_documents: int) -> str:
    return f"{len(results)} results for {num_documents} documents"


def _invalid(what: str) -> BadAnswer:
    return BadAnswer("incomplete_answer", what, status=200)


def _describe_text(body: bytes, error: orjson.JSONDecodeError) -> str:
    """Describe a body that is not JSON, without quoting it."""
    start = body.lstrip()[:1]
    if not start:
        return "an empty body"
    if start == b"<":
        return "a page of HTML or XML"
    return f"{error.msg} at byte {error.pos}"


def _describe_value(answer: Any) -> str:
    """Describe a JSON value: its type, and the names of an object's fields."""
    if not isinstance(answer, dict):
        return "an array" if isinstance(answer, list) else "no object"
    names = [name for name in answer if _NAME.fullmatch(name)][:_MAX_NAMES]
    return "an object with " + ", ".join(names) if names else "an object"


def _total_tokens(usage: Any, shape: AnswerShape) -> int | None:
    """Return what the service counted: the total, else the sum of its parts, else None.

    Anything but a whole number becomes `NO_COUNT`, which no request can have.
    """
    if not isinstance(usage, dict):
        return None if usage is None else NO_COUNT
    total = usage.get(shape.total_tokens)
    if total is None:
        parts = [part for part in map(usage.get, shape.partial_tokens) if part is not None]
        is_counted = parts and all(type(part) is int for part in parts)
        total = sum(parts) if is_counted else (parts or None)
    if total is None or type(total) is int:
        return total
    return int(total) if type(total) is float and total.is_integer() else NO_COUNT


def _search_units(units: Any) -> int | None:
    """Return the search units that a service billed, rounded up; None if it states no number."""
    if isinstance(units, bool) or not isinstance(units, int | float) or not math.isfinite(units):
        return None
    return math.ceil(units)
