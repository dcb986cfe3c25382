"""What a wire format is, and the checks that every answer passes.

Scores are matched by `index`, never by place, and an answer is taken whole or not at all: one
finite number for each document. Nothing that is missing is made up.

An answer that is just what it should be, as nearly all are, is read by its types, in a third of the
time; whatever that finds odd is read again with care, to say what is the matter.
"""

import math
from collections.abc import Callable
from operator import itemgetter
from typing import Annotated, Any

import msgspec
import numpy as np
import orjson
from msgspec import Struct

from pipeline.core.arrays import FloatArray
from pipeline.core.errors import BadAnswer, shorten
from pipeline.core.records import Request, Scores
from pipeline.service.wire.refusals import Clean, classify, is_error

Encode = Callable[[Request, str, str | None], bytes]
"""Request, model, instruct -> body."""

FindResults = Callable[[dict[str, Any]], Any]
"""The answer's object -> its list of `{index, relevance_score}`."""

_INDEX_AND_SCORE = itemgetter("index", "relevance_score")


class Result(msgspec.Struct, gc=False):
    """One document's score."""

    index: Annotated[int, msgspec.Meta(ge=0)]
    relevance_score: float


class Answer(msgspec.Struct):
    """An answer with its results at the top: `{results: [...], usage, id}`."""

    results: list[Result]
    usage: Any = None
    request_id: Any = None
    id: Any = None


class Output(msgspec.Struct):
    """The results of a nested answer."""

    results: list[Result]


class NestedAnswer(msgspec.Struct):
    """An answer with its results one level down: `{output: {results: [...]}, usage, ...}`."""

    output: Output
    usage: Any = None
    request_id: Any = None
    id: Any = None

    @property
    def results(self) -> list[Result]:
        """As in a flat answer."""
        return self.output.results


FLAT = msgspec.json.Decoder(Answer)
NESTED = msgspec.json.Decoder(NestedAnswer)


class WireFormat(Struct, frozen=True):
    """One way to ask and to answer.

    Attributes:
        name: As a provider names it.
        encode: Writes a request's body; always asks for the score of every document.
        find_results: Where an answer holds its results.
        decoder: Reads an answer that is as it should be.
    """

    name: str
    encode: Encode
    find_results: FindResults
    decoder: "msgspec.json.Decoder[Answer] | msgspec.json.Decoder[NestedAnswer]"

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
        scores = None
        try:
            answer = self.decoder.decode(body)
            scores = _placed(answer.results, num_documents)
        except (msgspec.MsgspecError, ValueError, IndexError, TypeError, RecursionError):
            pass  # it is read again
        if scores is None:
            return self.decode_with_care(body, num_documents, clean=clean)
        return Scores(
            scores,
            total_tokens=_total_tokens(answer.usage),
            response_id=str(answer.request_id or answer.id or ""),
        )

    def decode_with_care(self, body: bytes, num_documents: int, *, clean: Clean) -> Scores:
        """What `decode` does, for any body: the same scores, or the error."""
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


def _placed(results: list[Result], num_documents: int) -> FloatArray | None:
    """The scores by their documents' places; None or a TypeError if there is not one for each."""
    placed: list[Any] = [None] * num_documents
    for result in results:
        placed[result.index] = result.relevance_score
    is_whole = len(results) == num_documents and math.isfinite(sum(placed))
    return np.array(placed, dtype=np.float64) if is_whole else None


def _one_score_per_document(results: list[Any], num_documents: int) -> FloatArray:
    """The scores by their documents' places, or what is the matter with them."""
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
