"""What is sent for one group: its units of scoring, in requests within the limits."""

import numpy as np
from msgspec import Struct
from xxhash import xxh3_128_digest

from pipeline.core.arrays import FloatArray, IntArray, KeyArray
from pipeline.core.groups import Group
from pipeline.core.records import Reject, Request
from pipeline.core.settings import RunSettings
from pipeline.planning.packing import Packing
from pipeline.planning.units import Units


class Base(Struct, frozen=True, eq=False):
    """An earlier answer that stands for the first of a group's requests; see `partial_reuse`.

    Attributes:
        key: The stored request's key.
        scores: Of the units of the first home, in their order.
        total_tokens: Of the stored request, documents that are gone included.
        whole: The same group's plan without it.
        whole_tokens: What the service would count for that, about.
    """

    key: bytes
    scores: FloatArray
    total_tokens: int
    whole: "GroupPlan"
    whole_tokens: int


class GroupPlan(Struct, frozen=True, eq=False):
    """A group's requests, and why the rest of it is not sent; `planner` makes it.

    Attributes:
        settings: What it was planned by.
        units: What is scored.
        document_of_row: int64 per row of the group; -1 for a row that is not sent.
        query: The query as it is sent.
        query_tokens: Its Qwen tokens; where all fits one request, perhaps an upper bound of them.
        query_cut: It was over the per-item limit.
        num_truncated: Rows of whose text the service reads the beginning alone.
        rejects: Rows that are not sent, and why.
        packing: The units in requests.
        scope: 16 bytes that name the query, the model and all else that a score depends on besides
            the documents.
        divisor: 1 if packed within the limits as they are, 2 within half of them, and so on.
        base: The answer that the first request has already; None if all are to be asked.
    """

    group: Group
    settings: RunSettings
    units: Units
    document_of_row: IntArray
    query: str
    query_tokens: int
    query_cut: bool
    num_truncated: int
    rejects: list[Reject]
    packing: Packing
    scope: bytes
    divisor: int = 1
    base: Base | None = None

    def to_ask(self) -> tuple[IntArray, ...]:
        """The units of the first round's requests; they and the base together hold every unit."""
        return self.packing.requests()[0 if self.base is None else 1 :]

    def requests(self) -> list[Request]:
        """The first round's requests."""
        return [self.request(units[self.sending_order(units)]) for units in self.to_ask()]

    def keys(self) -> list[bytes]:
        """The keys of the answers that make the first round, the base's among them."""
        asked = [self._key(units[self.sending_order(units)]) for units in self.to_ask()]
        return asked if self.base is None else [self.base.key, *asked]

    def sending_order(self, units: IntArray) -> IntArray:
        """The order in which units are sent: by their content, so that no rank shows in a request.

        A model that reads documents side by side could favour places; and the same candidates in
        another first-stage order make the same request, which may have been paid before.
        """
        return sending_order(self.units.keys[units], self.scope)

    def request(self, units: IntArray) -> Request:
        """The request for these units, in this order."""
        return Request(
            query=self.query,
            documents=self.units.texts(units),
            tokens=self.num_tokens(units),
            key=self._key(units),
            document_keys=self.units.keys[units],
            query_id=self.group.query_id,
        )

    def num_tokens(self, units: IntArray) -> int:
        """Tokens of a request for these units, at most."""
        pair_tokens = len(units) * self.packing.limits.pair_tokens
        return pair_tokens + int(self.packing.tokens[units].sum())

    def _key(self, units: IntArray) -> bytes:
        return request_key(self.scope, self.units.keys[units])


def sending_order(keys: KeyArray, scope: bytes) -> IntArray:
    """The order in which documents of these content keys are sent; see `GroupPlan`."""
    salt = np.frombuffer(scope, dtype=np.uint64, count=1)
    return np.argsort(keys ^ salt, kind="stable")


def request_key(scope: bytes, keys: KeyArray) -> bytes:
    """The name of a request: what it is asked of, and its documents in their order."""
    return xxh3_128_digest(scope + keys.tobytes())
