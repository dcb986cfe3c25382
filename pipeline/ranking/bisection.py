"""Score documents in one request, without those that the service refuses.

If the service refuses a request, the cause may be one document. If the content is refused, the
document is found by bisection. If the size is refused, the cause is the longest document, provided
that it is also refused alone. The others are then sent again as one request, since a score is
relative to its request. One refused document among n costs at most log2(n) + 3 further requests.
Documents that the service leaves out of its answer, at every attempt, have no score; the others
keep theirs from that answer.
"""

from collections.abc import Awaitable, Callable

import numpy as np
from msgspec import Struct, field

from pipeline.core.arrays import FloatArray, IntArray
from pipeline.core.errors import (
    BadAnswer,
    ContentRefused,
    IncompleteAnswer,
    Rejected,
    RequestError,
    TooLarge,
    Transient,
)
from pipeline.core.records import Reason, Scores

AskUnits = Callable[[IntArray], Awaitable[Scores]]
"""Returns the scores of units that are sent as one request, in this order."""


class Failure(Struct, frozen=True):
    """Why a document has no score: the reason, and the service's code and message."""

    reason: Reason
    code: str
    message: str


class DocumentScores(Struct, eq=False):
    """The scores of the documents of one request, and why some have none.

    Attributes:
        scores: float64, one per document, in the request's order; NaN where there is none.
        failures: Why a document has no score, by its index in the request.
        num_requests: 1, or 0 if no document has a score.
        total_tokens: Tokens of the request that gave the scores.
    """

    scores: FloatArray
    failures: dict[int, Failure] = field(default_factory=dict)
    num_requests: int = 0
    total_tokens: int = 0

    def fail(self, indices: IntArray, reason: Reason, error: RequestError) -> None:
        """Record why the documents at `indices` have no score."""
        failure = Failure(reason, error.code, error.message)
        self.failures.update(dict.fromkeys(indices.tolist(), failure))


_REASONS: dict[type[RequestError], Reason] = {
    Rejected: "refused_request",
    Transient: "unavailable",
    BadAnswer: "bad_answer",
}


async def ask_documents(
    units: IntArray, sizes: IntArray, ask: AskUnits, *, refusal: RequestError | None = None
) -> DocumentScores:
    """Score `units` in one request, without those that the service refuses.

    Args:
        units: What to score, in sending order.
        sizes: Their sizes in bytes.
        ask: Sends a request.
        refusal: The error of the request of all units, if that was sent already.

    Raises:
        TooLarge: if the request was refused for its size, and no single document is the cause.
        ServiceEnded: if the service gives no more answers.
        Interrupted: if the job was asked to stop.
    """
    result = DocumentScores(np.full(len(units), np.nan))
    search = _Search(units, sizes, ask)
    everything = left = np.arange(len(units))
    outcome = await _outcome(ask, units) if refusal is None else refusal
    try:
        while isinstance(outcome, ContentRefused | TooLarge):
            found, refusal_alone = await search.find(left, outcome)
            if search.refuses_everything:
                result.fail(everything, "refused_request", refusal_alone)
                return result
            result.fail(left[found : found + 1], "refused_document", refusal_alone)
            left = np.delete(left, found)
            if not len(left):
                return result
            outcome = await _outcome(ask, units[left])
    except (Rejected, Transient, BadAnswer) as error:
        outcome = error
    if isinstance(outcome, IncompleteAnswer):
        result.fail(left[np.isnan(outcome.scores)], "bad_answer", outcome)
    elif isinstance(outcome, RequestError):
        result.fail(left, _REASONS[type(outcome)], outcome)
        return result
    result.scores[left] = outcome.scores
    result.num_requests, result.total_tokens = 1, outcome.total_tokens or 0
    return result


async def _outcome(ask: AskUnits, units: IntArray) -> Scores | RequestError:
    try:
        return await ask(units)
    except RequestError as error:
        return error


class _Search(Struct, eq=False):
    """Finds the document for which a request is refused.

    Attributes:
        units: The units of the whole request.
        sizes: Their sizes.
        ask: Sends a request.
        num_found: How many refused documents were found.
        accepted_any: Whether the service accepted any part of the request.
    """

    units: IntArray
    sizes: IntArray
    ask: AskUnits
    num_found: int = 0
    accepted_any: bool = False

    @property
    def refuses_everything(self) -> bool:
        """Whether several documents were refused alone and no part was accepted.

        The cause is then the query.
        """
        return self.num_found > 1 and not self.accepted_any

    async def find(self, indices: IntArray, refusal: RequestError) -> tuple[int, RequestError]:
        """Find a document that is refused alone among those at `indices`.

        Returns:
            Its position in `indices`, and its refusal.

        Raises:
            TooLarge: if there is none: the request was refused for its size.
        """
        search = self._try_longest if isinstance(refusal, TooLarge) else self._bisect
        found, refusal = await search(indices, refusal)
        self.num_found += 1
        others = np.delete(indices, found)
        if self.refuses_everything and len(others):
            # Two refused documents may be a coincidence, so a third one is tried.
            await self._refusal(others[[np.argmin(self.sizes[others])]])
        return found, refusal

    async def _bisect(self, indices: IntArray, refusal: RequestError) -> tuple[int, RequestError]:
        start, stop, refused = 0, len(indices), True
        while stop - start > 1:
            middle = (start + stop) // 2
            found = await self._refusal(indices[start:middle])
            if found is None:
                start, refused = middle, False
            else:
                stop, refused, refusal = middle, True, found
        if not refused:
            # The other parts were accepted, but this one was not yet sent alone.
            found = await self._refusal(indices[start:stop])
            if found is None:
                raise TooLarge(refusal.code, refusal.message, status=refusal.status)
            refusal = found
        return start, refusal

    async def _try_longest(
        self, indices: IntArray, refusal: RequestError
    ) -> tuple[int, RequestError]:
        if len(indices) == 1:
            return 0, refusal
        longest = int(np.argmax(self.sizes[indices]))
        found = await self._refusal(indices[[longest]])
        if found is None:
            raise refusal
        return longest, found

    async def _refusal(self, indices: IntArray) -> RequestError | None:
        """Send the documents at `indices` as one request; return the refusal, or None."""
        try:
            await self.ask(self.units[indices])
        except (ContentRefused, TooLarge) as refusal:
            return refusal
        except IncompleteAnswer:
            pass  # it was accepted; its scores do not matter
        self.accepted_any = True
        return None
