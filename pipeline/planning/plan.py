"""The plan of one group: its units of scoring, in requests within the limits."""

from collections.abc import Callable, Sequence

import numpy as np
from blake3 import blake3
from msgspec import Struct
from msgspec.structs import force_setattr

from pipeline.core.arrays import FloatArray, IntArray, KeyArray
from pipeline.core.content import (
    DIGEST_BYTES,
    TEXT_ONLY,
    Content,
    ContentKind,
    identity,
    require_accepted,
)
from pipeline.core.groups import Group
from pipeline.core.records import Reject, Request
from pipeline.core.settings import RunSettings
from pipeline.planning.packing import Packing
from pipeline.planning.search_units import count_chunks, count_search_units
from pipeline.planning.units import UnitContents, Units


class Base(Struct, frozen=True, eq=False):
    """An earlier answer that stands for the first of a group's requests; see `reuse`.

    Attributes:
        key: The stored request's key.
        scores: Of the units of the first home, in their order.
        total_tokens: Of the stored request, documents that are no longer candidates included.
        whole: The same group's plan without it.
        whole_tokens: Estimate of what the service would count for that plan.
    """

    key: bytes
    scores: FloatArray
    total_tokens: int
    whole: "Plan"
    whole_tokens: int


class PackedUnits(Struct, frozen=True, eq=False):
    """A group's units of scoring and the requests that they are packed into.

    Attributes:
        units: What is scored.
        document_of_row: int64 per row of the group; -1 for a row that is not sent.
        packing: The units in requests.
    """

    units: Units
    document_of_row: IntArray
    packing: Packing


class SingleRequest(Struct, frozen=True, eq=False):
    """The request of a group that fits one request unchanged, made without packing it.

    Attributes:
        request: Holds every text of the group.
        rows: int64, the row of each document, in the request's order.
        ranks_ascend: Whether the first stage's ranks ascend along the rows, as they usually do.
    """

    request: Request
    rows: IntArray
    ranks_ascend: bool


class Plan(Struct, frozen=True, eq=False, kw_only=True):
    """A group's requests, and why the rest of the group is not sent.

    `Planner.plan` makes it for any group. For a group that fits one request unchanged `plan_batch`
    makes it from `single_request` alone, at a fraction of the cost; units and packing are then
    computed only if they are read, which happens when the service refuses something.

    Attributes:
        group: The candidates.
        settings: The settings that it was planned by.
        query: The query as it is sent.
        query_tokens: Its Qwen tokens; an upper bound where that is enough to pack the group.
        scope: Digest of the query, the model and all else that a score depends on besides the
            documents.
        order_salt: 64 bits that make another sending order for another query.
        query_cut: Whether the query was over the per-item limit.
        num_truncated: Rows of whose text the service reads only the beginning.
        rejects: Rows that are not sent, and why.
        divisor: 1 if packed within the limits as they are, 2 within half of them, and so on.
        base: The stored answer to the first request; None if every request is to be sent.
        accepts: The kinds of content that the service scores.
        single_request: The only request, if the group fits it unchanged; else None.
        packed: Units and packing; None until they are computed by `pack`.
        pack: Computes them; None if `packed` is given.
    """

    group: Group
    settings: RunSettings
    query: Content
    query_tokens: int
    scope: bytes
    order_salt: int
    query_cut: bool = False
    num_truncated: int = 0
    rejects: Sequence[Reject] = ()
    divisor: int = 1
    base: Base | None = None
    accepts: frozenset[ContentKind] = TEXT_ONLY
    single_request: SingleRequest | None = None
    packed: PackedUnits | None = None
    pack: Callable[[Group], PackedUnits] | None = None

    @property
    def units(self) -> Units:
        """The units of scoring."""
        return self._packed().units

    @property
    def document_of_row(self) -> IntArray:
        """int64 per row of the group: its document among the units; -1 for a row not sent."""
        return self._packed().document_of_row

    @property
    def packing(self) -> Packing:
        """The units in requests."""
        return self._packed().packing

    def to_ask(self) -> tuple[IntArray, ...]:
        """Return the units of each first-round request to send; the base covers the others."""
        return self.packing.requests[0 if self.base is None else 1 :]

    def is_better_whole(self, num_documents: int) -> bool:
        """Return whether to give up the base if a final request of so many documents follows.

        The whole group in one request then costs little more, and needs no link.
        """
        if self.base is None or len(self.base.whole.packing.homes) != 1:
            return False
        return 2 * num_documents > len(self.units)

    def requests(self) -> list[Request]:
        """Return the first-round requests to send."""
        if self.single_request is not None:
            return [self.single_request.request]
        return [self.request(units[self.sending_order(units)]) for units in self.to_ask()]

    def keys(self) -> list[bytes]:
        """Return the keys of the first round's answers, the base's among them."""
        if self.single_request is not None:
            return [self.single_request.request.key]
        asked = [self._key(units[self.sending_order(units)]) for units in self.to_ask()]
        return asked if self.base is None else [self.base.key, *asked]

    def sending_order(self, units: IntArray) -> IntArray:
        """Return the order in which to send units: by content hash, which reveals no rank.

        A model that reads documents side by side could favour positions. The same candidates in
        another first-stage order make the same request, which may have been paid before.
        """
        return sending_order(self.units.content_hashes[units], self.order_salt)

    def request(self, units: IntArray) -> Request:
        """Return the request for these units, in this order.

        Raises:
            SettingsError: if the service does not accept this kind of content.
        """
        media = self.units.contents(units) if self.units.media else ()
        require_accepted((self.query, *media), self.accepts, model=self.settings.profile.name)
        return Request(
            query=self.query,
            documents=UnitContents(self.units, units),
            tokens=self.num_tokens(units),
            key=self._key(units),
            scope=self.scope,
            query_id=self.group.query_id,
            image_tokens=self.num_image_tokens(units),
            search_units=self.num_search_units(units),
        )

    def num_tokens(self, units: IntArray) -> int:
        """Return an upper bound of the tokens of a request for these units."""
        packing = self.packing
        return len(units) * packing.limits.pair_tokens + int(packing.tokens[units].sum())

    def num_image_tokens(self, units: IntArray) -> int:
        """Return an upper bound of those that are tokens of images and videos."""
        media = self.units.media
        of_query = 0 if isinstance(self.query, str) else len(units) * self.query_tokens
        if not media:
            return of_query
        return of_query + int(self.packing.tokens[units[np.isin(units, list(media))]].sum())

    def num_search_units(self, units: IntArray) -> int:
        """Return an upper bound of the search units of a request; 0 if they are not billed."""
        profile, packing = self.settings.profile, self.packing
        if profile.search_units is None:
            return 0
        tokens = np.minimum(packing.tokens[units], profile.max_tokens_per_document)
        chunks = count_chunks(profile.search_units, packing.limits.query_tokens, tokens)
        return int(count_search_units(profile.search_units, chunks.sum()))

    def _key(self, units: IntArray) -> bytes:
        return joined_request_key(self.scope, *self.units.joined(units))

    def _packed(self) -> PackedUnits:
        if self.packed is None:
            assert self.pack is not None, "a plan has packed units or can pack them"
            force_setattr(self, "packed", self.pack(self.group))
        assert self.packed is not None
        return self.packed


def sending_order(content_hashes: KeyArray, order_salt: int) -> IntArray:
    """Return the order in which to send documents; another query sends them in another order."""
    return np.argsort(content_hashes ^ np.uint64(order_salt), kind="stable")


def request_key(scope: bytes, documents: Sequence[Content]) -> bytes:
    """Return the key of a request: the digest of its scope and its documents as they are sent."""
    contents = [identity(document) for document in documents]
    sizes = np.array([len(content) for content in contents], np.int64)
    return joined_request_key(scope, sizes, b"".join(contents))


def joined_request_key(scope: bytes, sizes: IntArray, contents: bytes | memoryview) -> bytes:
    """Return the same, given the documents one after the other, and the bytes of each."""
    # The sizes tell where one document ends and the next begins.
    parts = (scope, len(sizes).to_bytes(8, "little"), sizes.tobytes(), contents)
    return blake3(b"".join(parts)).digest(length=DIGEST_BYTES)
