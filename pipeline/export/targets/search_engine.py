"""Elasticsearch and OpenSearch: a document a query, through the bulk helpers of their clients.

A document is indexed under its query's id, so loading it again replaces it. The helpers send items
that were answered with 429 again, by themselves.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import msgspec
import polars as pl
import pyarrow as pa

from pipeline.core.errors import ServiceRefused, shorten
from pipeline.core.events import log_event
from pipeline.export.documents import make_documents
from pipeline.export.formats.es_bulk import document_ids
from pipeline.export.json_text import json_objects, to_frame
from pipeline.export.targets.clients import BulkClient, BulkLimits
from pipeline.export.targets.item_errors import ItemError, item_error
from pipeline.export.targets.target import ServerDown, State, TargetTable

_log = logging.getLogger(__name__)

_SHOWN: Final = 20
_MALFORMED: Final = (LookupError, TypeError, AttributeError, ValueError)
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})


class SearchEngineTarget:
    """An index; see `Target`.

    Args:
        client: Of the engine.
        limits: How documents are sent.
    """

    def __init__(self, client: BulkClient, limits: BulkLimits | None = None) -> None:
        self._client = client
        self._limits = limits or BulkLimits()
        self._runner: asyncio.Runner | None = None

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Hold the client's connections."""
        with asyncio.Runner() as runner:
            self._runner = runner
            runner.run(self._client.open())
            try:
                yield
            finally:
                runner.run(self._client.close())

    def prepare(self, table: TargetTable) -> State:
        """Ask for the index; one that is missing is made by the first document.

        Templates and mappings of the engine decide which fields it has.
        """
        state: State = self._run(self._state(table))
        return state

    def load(self, table: TargetTable, rows: Iterable[pa.Table]) -> int:
        """Load the documents of a part."""
        key = table.key[0] if len(table.key) > 2 else None
        for batch in rows:
            documents = to_frame(make_documents(batch, key))
            self._run(self._index(table, documents, key))
        return 0

    async def _state(self, table: TargetTable) -> State:
        async with self._errors(table):
            return State(await self._client.index_id(table.name))

    async def _index(self, table: TargetTable, documents: pl.DataFrame, key: str | None) -> None:
        ids = document_ids(documents, [name for name in (key, "query_id") if name])
        sources = documents.select(json_objects(documents.schema, documents.columns)).to_series()
        actions = (
            {"_op_type": "index", "_index": table.name, "_id": name, "_source": source}
            for name, source in zip(ids, sources, strict=True)
        )
        async with self._errors(table):
            items = [item async for item in self._client.send(actions, self._limits)]
            failed = [item_error(info) for is_taken, info in items if not is_taken]
        if len(items) != len(ids):
            raise ServerDown("an answer does not tell of every document")
        if any(item.status == 429 for item in failed):
            raise ServerDown("the items are still answered with 429")
        if failed:
            raise _refused(table, failed, dict(zip(ids, sources, strict=True)))

    @asynccontextmanager
    async def _errors(self, table: TargetTable) -> AsyncIterator[None]:
        try:
            yield
        except self._client.connection_errors as error:
            raise ServerDown(shorten(f"no connection: {type(error).__name__}")) from error
        except _MALFORMED as error:  # raised by the client, which expects a sound answer
            raise ServerDown("its answer is not that of a search engine") from error
        except self._client.status_errors as error:
            status = self._client.status_of(error)
            if status in _PASSING:
                raise ServerDown(f"answered {status}") from error
            raise ServiceRefused(
                f"the engine refuses: {self._client.reason_of(error)}",
                which=table.name,
                found=f"status {status}",
                cure="check index, credentials and their permissions",
            ) from error

    def _run(self, work: Any) -> Any:
        assert self._runner is not None
        return self._runner.run(work)


def _refused(
    table: TargetTable, failed: list[ItemError], sources: Mapping[str, str]
) -> ServiceRefused:
    """Log documents that were refused, and return the error that ends the load."""
    documents = [sources.get(item.doc_id) for item in failed[:_SHOWN]]
    reasons = [
        item.describe(None if document is None else msgspec.json.decode(document))
        for item, document in zip(failed, documents, strict=False)
    ]
    for item, reason in zip(failed, reasons, strict=False):
        log_event(_log, logging.WARNING, "load.item_refused", id=item.doc_id, reason=reason)
    return ServiceRefused(
        f"refuses {len(failed)} documents; the first: _id {failed[0].doc_id!r}: {reasons[0]}",
        which=table.name,
        cure="change the index's mapping, then run the same command again",
    )
