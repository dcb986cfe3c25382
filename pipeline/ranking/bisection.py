"""The scores of some documents in one request, whatever it takes.

When the service refuses a request, perhaps one document is to blame. For a refusal of content it is
found by bisection; for one of size it is the longest, if that is refused alone. All the others are
then asked again as one request, since scores of parts are relative to the parts. One refused
document among n costs at most log2(n) + 3 requests more.
"""

from collections.abc import Awaitable, Callable

import numpy as np
from msgspec import Struct, field

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    Rejected,
    RequestError,
    TooLarge,
    Transient,
)
from pipeline.core.records import Reason, Scores

AskUnits = Callable[[IntArray], Awaitable[Scores]]
"""Units, in the order in which they are sent as one request, to their scores."""


class Failure(Struct, frozen=True):
    """Why a document got no score: the reason, and the service's words."""

    reason: Reason
    code: str
    message: str


class DocumentScores(Struct, eq=False):
    """What became of the documents of one request.

    Attributes:
        scores: One per document, in the request's order; NaN where there is none.
        failures: Why, by place in the request.
        num_requests: 1 if the scores are there, 0 if no document has one.
        total_tokens: Tokens of the request that the scores are from.
    """

    scores: FloatArray
    failures: dict[int, Failure] = field(default_factory=dict)
    num_requests: int = 0
    total_tokens: int = 0

    def fail(self, places: IntArray, reason: Reason, error: RequestError) -> None:
        """Note why the documents at `places` have no score."""
        failure = Failure(reason, error.code, error.message)
        self.failures.update(dict.fromkeys(places.tolist(), failure))


_REASONS: dict[type[RequestError], Reason] = {
    Rejected: "refused_request",
    Transient: "unavailable",
    BadAnswer: "bad_answer",
}


async def ask_documents(
    units: IntArray, sizes: IntArray, ask: AskUnits, *, refusal: RequestError | None = None
) -> DocumentScores:
    """Ask for the scores of `units` in one request.

    Args:
        units: What to ask for, in sending order.
        sizes: How long each of them is.
        ask: Sends a request.
        refusal: The error that the request of all units got, if it was sent before.

    Raises:
        TooLarge: if the service takes no request of so many documents, but smaller ones.
        ServiceEnded: if the service gives no more answers.
        Interrupted: if the job was asked to stop.
    """
    result = DocumentScores(np.full(len(units), np.nan))
    search = _Search(units, sizes, ask)
    everything = left = np.arange(len(units))
    outcome = await _outcome(ask, units) if refusal is None else refusal
    try:
        while isinstance(outcome, ContentRefused | TooLarge):
            place, refusal_alone = await search.find(left, outcome)
            if search.refuses_everything:
                result.fail(everything, "refused_request", refusal_alone)
                return result
            result.fail(left[place : place + 1], "refused_document", refusal_alone)
            left = np.delete(left, place)
            if not len(left):
                return result
            outcome = await _outcome(ask, units[left])
    except (Rejected, Transient, BadAnswer) as error:
        outcome = error
    if isinstance(outcome, RequestError):
        result.fail(left, _REASONS[type(outcome)], outcome)
    else:
        result.scores[left] = outcome.scores
        result.num_requests, result.total_tokens = 1, outcome.total_tokens or 0
    return result


async def _outcome(ask: AskUnits, units: IntArray) -> Scores | RequestError:
    try:
        return await ask(units)
    except RequestError as error:
        return error


class _Search(Struct, eq=False):
    """Looks for the document for which a request is refused."""

    units: IntArray
    sizes: IntArray
    ask: AskUnits
    num_found: int = 0
    accepted_any: bool = False

    @property
    def refuses_everything(self) -> bool:
        """Several documents were refused alone and no part was ever accepted: it is the query."""
        return self.num_found > 1 and not self.accepted_any

    async def find(self, places: IntArray, refusal: RequestError) -> tuple[int, RequestError]:
        """The index in `places` of a document that is refused alone, and that refusal.

        Raises:
            TooLarge: if there is none, so the request was refused for its size.
        """
        look = self._take_longest if isinstance(refusal, TooLarge) else self._bisect
        found, refusal = await look(places, refusal)
        self.num_found += 1
        others = np.delete(places, found)
        if self.refuses_everything and len(others):
            # That both were refused may be chance; a third one is not.
            await self._refusal(others[[np.argmin(self.sizes[others])]])
        return found, refusal

    async def _bisect(self, places: IntArray, refusal: RequestError) -> tuple[int, RequestError]:
        start, stop, refused = 0, len(places), True
        while stop - start > 1:
            middle = (start + stop) // 2
            found = await self._refusal(places[start:middle])
            if found is None:
                start, refused = middle, False
            else:
                stop, refused, refusal = middle, True, found
        if not refused:
            # So far it is only known that the other parts were accepted.
            found = await self._refusal(places[start:stop])
            if found is None:
                raise TooLarge(refusal.code, refusal.message, status=refusal.status)
            refusal = found
        return start, refusal

    async def _take_longest(
        self, places: IntArray, refusal: RequestError
    ) -> tuple[int, RequestError]:
        if len(places) == 1:
            return 0, refusal
        longest = int(np.argmax(self.sizes[places]))
        found = await self._refusal(places[[longest]])
        if found is None:
            raise refusal
        return longest, found

    async def _refusal(self, places: IntArray) -> RequestError | None:
        try:
            await self.ask(self.units[places])
        except (ContentRefused, TooLarge) as refusal:
            return refusal
        self.accepted_any = True
        return None
