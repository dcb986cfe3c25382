"""Read the scores of an answer, with the checks that every answer must pass.

Scores are matched by index, never by place: one finite number for each document. Nothing that is
missing is made up: an answer that is valid but lacks some scores is an error that holds the others.

A valid answer, as nearly all are, is decoded by its types in a third of the time. Any other is
decoded again field by field, to say what is wrong with it.
"""

import math
import re
from collections.abc import Callable, Sequence
from operator import itemgetter
from typing import Annotated, Any, Final, Protocol

import msgspec
import numpy as np
import orjson
from msgspec import Struct

from pipeline.core.arrays import FloatArray
from pipeline.core.errors import BadAnswer, IncompleteAnswer
from pipeline.core.records import Scores
from pipeline.service.wire.refusals import Clean, RefusalCodes, classify, is_error, load_json

_NAME: Final = re.compile(r"[A-Za-z_]{1,24}")
_MAX_NAMES: Final = 6
"""So many names of fields are shown of an answer in a wrong shape."""


class Result(Struct, gc=False):
    """One document's score."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    score: float = msgspec.field(name="relevance_score")


class ResponseBody(Protocol):
    """A valid answer, decoded by its types."""

    @property
    def results(self) -> list[Result]:
        """The documents' scores, in any order."""

    @property
    def usage(self) -> Any:
        """What the service counted, as it says it."""

    @property
    def response_id(self) -> Any:
        """The service's name of the answer."""


class FlatBody(Struct):
    """An answer with its results at the top: `{results: [...], usage, id}`."""

    results: list[Result]
    usage: Any = None
    request_id: Any = None
    id: Any = None

    @property
    def response_id(self) -> Any:
        """The first name of the answer that is there."""
        return self.request_id or self.id


class Output(Struct):
    """The results of a nested answer."""

    results: list[Result]


class NestedBody(Struct):
    """An answer with its results one level down: `{output: {results: [...]}, usage, ...}`."""

    output: Output
    usage: Any = None
    request_id: Any = None
    id: Any = None

    @property
    def results(self) -> list[Result]:
        """As in a flat answer."""
        return self.output.results

    @property
    def response_id(self) -> Any:
        """The first name of the answer that is there."""
        return self.request_id or self.id


class AnswerShape(Struct, frozen=True, kw_only=True):
    """Where an answer holds what is read from it.

    Attributes:
        decode_valid: Decodes a valid answer by its types, or raises; it finds what the names below
            find.
        results: The keys that lead to the list of results; empty if the answer is that list.
        index: A result's field with the place of the document in the request, from 0.
        score: A result's field with the score.
        usage: The key of the object that holds the token counts.
        total_tokens: The field in it with the tokens of the whole request.
        partial_tokens: The fields in it that add up to them where there is no total.
        response_id: The keys that may hold the service's name of the answer; the first one counts.
    """

    decode_valid: Callable[[bytes], ResponseBody]
    results: tuple[str, ...]
    index: str = "index"
    score: str = "relevance_score"
    usage: str = "usage"
    total_tokens: str = "total_tokens"
    partial_tokens: tuple[str, ...] = ("input_tokens", "prompt_tokens", "output_tokens")
    response_id: tuple[str, ...] = ("request_id", "id")


FLAT = AnswerShape(decode_valid=msgspec.json.Decoder(FlatBody).decode, results=("results",))
NESTED = AnswerShape(
    decode_valid=msgspec.json.Decoder(NestedBody).decode, results=("output", "results")
)


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
        IncompleteAnswer: if some documents have no score, and all is well but for that.
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
    results = answer
    for key in shape.results:
        results = results.get(key) if isinstance(results, dict) else None
    if not isinstance(results, list):
        wanted = ".".join(shape.results) or "the body"
        what = f"no list of results in {wanted}, but {_describe_value(answer)}"
        raise BadAnswer("no_results", clean(what), status=200)
    facts = answer if isinstance(answer, dict) else {}
    total_tokens = _total_tokens(facts.get(shape.usage), shape)
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
    """Return what a body that is not JSON looks like, without a word of it."""
    start = body.lstrip()[:1]
    if not start:
        return "an empty body"
    if start == b"<":
        return "a page of HTML or XML"
    return f"{error.msg} at byte {error.pos}"


def _describe_value(answer: Any) -> str:
    """Return what a JSON value is, with the names of an object's fields."""
    if not isinstance(answer, dict):
        return "an array" if isinstance(answer, list) else "no object"
    names = [name for name in answer if _NAME.fullmatch(name)][:_MAX_NAMES]
    return "an object with " + ", ".join(names) if names else "an object"


def _total_tokens(usage: Any, shape: AnswerShape) -> int | None:
    """Return what the service counted: the total, else the sum of its parts, else None."""
    if not isinstance(usage, dict):
        return None
    total = usage.get(shape.total_tokens)
    if total is None:
        parts = [usage.get(name) for name in shape.partial_tokens]
        known = [part for part in parts if type(part) is int]
        total = sum(known) if known else None
    return total if type(total) is int and total >= 0 else None
