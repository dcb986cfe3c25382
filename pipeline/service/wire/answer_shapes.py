"""The shapes of answers: where scores and counts are, and the types that decode a valid one.

All other fields, such as the documents that some services repeat, are skipped while an answer is
decoded and never kept.
"""

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Protocol, TypeAlias

import msgspec
from msgspec import Struct, field

Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0)]


class Result(Protocol):
    """One document's score in an answer."""

    @property
    def index(self) -> int:
        """The place of the document in the request, from 0."""

    @property
    def score(self) -> float:
        """The service's number."""


class ResponseBody(Protocol):
    """A valid answer, decoded by its types."""

    @property
    def results(self) -> Sequence[Result]:
        """The documents' scores, in any order."""

    @property
    def usage(self) -> Any:
        """The token counts that the service states, unchecked."""

    @property
    def response_id(self) -> Any:
        """The service's name of the answer."""

    @property
    def search_units(self) -> Any:
        """The search units that it states as billed, unchecked; None if it states none."""


class AnswerShape(Struct, frozen=True, kw_only=True):
    """Where an answer holds its scores and counts.

    Attributes:
        decode_valid: Decodes a valid answer by its types, or raises; it reads the same values as
            the names below.
        results: The keys that lead to the list of results; empty if the answer is that list.
        index: A result's field with the place of the document in the request, from 0.
        score: A result's field with the score.
        usage: The keys that lead to the object with the token counts.
        total_tokens: The field in it with the tokens of the whole request.
        partial_tokens: The fields in it that add up to them where there is no total.
        search_units: The keys that lead to the search units that were billed; empty if the vendor
            bills none.
        response_id: The keys that may hold the service's name of the answer; the first one counts.
    """

    decode_valid: Callable[[bytes], ResponseBody]
    results: tuple[str, ...]
    index: str = "index"
    score: str = "relevance_score"
    usage: tuple[str, ...] = ("usage",)
    total_tokens: str = "total_tokens"
    partial_tokens: tuple[str, ...] = ("input_tokens", "prompt_tokens", "output_tokens")
    search_units: tuple[str, ...] = ()
    response_id: tuple[str, ...] = ("request_id", "id")


def find(answer: Any, keys: Sequence[str]) -> Any:
    """Return the value that nested keys lead to; None if there is none."""
    for key in keys:
        answer = answer.get(key) if isinstance(answer, dict) else None
    return answer


class _Named(Struct):
    """The names that an answer may have."""

    request_id: Any = None
    id: Any = None

    @property
    def response_id(self) -> Any:
        """The first name of the answer that is there."""
        return self.request_id or self.id

    @property
    def search_units(self) -> Any:
        """No search units."""
        return None


class _Relevance(Struct, gc=False):
    index: Index
    score: float = field(name="relevance_score")


class _Score(Struct, gc=False):
    index: Index
    score: float


class _Flat(_Named, kw_only=True):
    results: list[_Relevance]
    usage: Any = None


class _Output(Struct):
    results: list[_Relevance]


class _Nested(_Named, kw_only=True):
    output: _Output
    usage: Any = None

    @property
    def results(self) -> list[_Relevance]:
        """As in a flat answer."""
        return self.output.results


class _Data(_Named, kw_only=True):
    results: list[_Relevance] = field(name="data")
    usage: Any = None


class _Meta(_Named, kw_only=True):
    results: list[_Relevance]
    meta: Any = None

    @property
    def usage(self) -> Any:
        """The token counts, where they are given."""
        return find(self.meta, ("tokens",))

    @property
    def search_units(self) -> Any:
        """The search units, where they are given."""
        return find(self.meta, ("billed_units", "search_units"))


class _Array(Struct):
    results: list[_Score]
    usage: None = None
    response_id: None = None
    search_units: None = None


_decode_array = msgspec.json.Decoder(list[_Score]).decode


def _array_body(body: bytes) -> _Array:
    return _Array(_decode_array(body))


FLAT = AnswerShape(decode_valid=msgspec.json.Decoder(_Flat).decode, results=("results",))
"""`{results: [{index, relevance_score}], usage: {total_tokens}, id}`."""

NESTED = AnswerShape(
    decode_valid=msgspec.json.Decoder(_Nested).decode, results=("output", "results")
)
"""`{output: {results: [{index, relevance_score}]}, usage: {total_tokens}, request_id}`."""

DATA = AnswerShape(decode_valid=msgspec.json.Decoder(_Data).decode, results=("data",))
"""`{data: [{index, relevance_score}], usage: {total_tokens}}`."""

META = AnswerShape(
    decode_valid=msgspec.json.Decoder(_Meta).decode,
    results=("results",),
    usage=("meta", "tokens"),
    search_units=("meta", "billed_units", "search_units"),
)
"""`{id, results: [{index, relevance_score}], meta: {tokens: {input_tokens, output_tokens},
billed_units: {search_units}}}`."""

ARRAY = AnswerShape(
    decode_valid=_array_body, results=(), score="score", usage=("usage",), response_id=()
)
"""`[{index, score}]`, without token counts."""
