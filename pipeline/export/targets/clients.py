"""The official clients of Elasticsearch and OpenSearch, behind one interface."""

import re
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final, Protocol

from msgspec import Struct

from pipeline.core.environment import read_credential
from pipeline.export.targets.target import missing_extra

_TIMEOUT_S: Final = 60.0
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,80}")


class BulkLimits(Struct, frozen=True, kw_only=True):
    """How documents are sent.

    Attributes:
        max_actions: Documents in one request.
        max_bytes: Its size.
        max_retries: How often items that were answered with 429 are sent again.
        first_wait_s: Before the first time; each further wait is twice as long.
        max_wait_s: The longest wait.
    """

    max_actions: int = 500
    max_bytes: int = 8 << 20
    max_retries: int = 8
    first_wait_s: float = 0.5
    max_wait_s: float = 30.0


class BulkClient(Protocol):
    """What both clients offer, in different words."""

    connection_errors: tuple[type[Exception], ...]
    status_errors: tuple[type[Exception], ...]

    async def open(self) -> None:
        """Make the client; it must be made in a running event loop."""

    async def close(self) -> None:
        """Close its connections."""

    async def index_id(self, index: str) -> str:
        """Return what names this very index; "" if there is none, or if that is not told."""

    def send(
        self, actions: Iterable[dict[str, Any]], limits: BulkLimits
    ) -> AsyncIterator[tuple[bool, Mapping[str, Any]]]:
        """Send all actions, and yield for each whether it was taken, and its item of the answer."""

    def status_of(self, error: Exception) -> int:
        """Return the HTTP status of a status error."""

    def reason_of(self, error: Exception) -> str:
        """Return what the engine says of a status error, by its kind."""


class ElasticsearchClient:
    """Elasticsearch; the key is ELASTICSEARCH_API_KEY, or user and password ELASTICSEARCH_*.

    Args:
        url: `http(s)://HOST:PORT`.

    Raises:
        SettingsError: without the extra `elasticsearch`.
    """

    def __init__(self, url: str) -> None:
        try:
            import elasticsearch
            import elasticsearch.helpers
        except ImportError as error:
            raise missing_extra("elasticsearch") from error
        self._module: Any = elasticsearch
        self._url = url
        self.connection_errors: tuple[type[Exception], ...] = (elasticsearch.TransportError,)
        self.status_errors: tuple[type[Exception], ...] = (elasticsearch.ApiError,)

    async def open(self) -> None:
        """Make the client."""
        key = read_credential("ELASTICSEARCH_API_KEY")
        user = read_credential("ELASTICSEARCH_USERNAME")
        password = read_credential("ELASTICSEARCH_PASSWORD")
        self._client: Any = self._module.AsyncElasticsearch(
            self._url,
            api_key=key,
            basic_auth=(user, password or "") if user and not key else None,
            request_timeout=_TIMEOUT_S,
            max_retries=0,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def index_id(self, index: str) -> str:
        """Return the index's uuid."""
        return await _index_id(self._client.indices, index, self._module.ApiError)

    def send(
        self, actions: Iterable[dict[str, Any]], limits: BulkLimits
    ) -> AsyncIterator[tuple[bool, Mapping[str, Any]]]:
        """Send all actions, and yield for each whether it was taken, and its item of the answer."""
        send: Any = self._module.helpers.async_streaming_bulk
        answers: AsyncIterator[tuple[bool, Mapping[str, Any]]] = send(
            self._client, actions, **_bulk_options(limits)
        )
        return answers

    def status_of(self, error: Exception) -> int:
        """Return the HTTP status."""
        status: int = error.status_code  # type: ignore[attr-defined]
        return status

    def reason_of(self, error: Exception) -> str:
        """Return the kind of the error."""
        return _kind(error)


class OpenSearchClient:
    """OpenSearch; user and password are OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD.

    Args:
        url: `http(s)://HOST:PORT`.

    Raises:
        SettingsError: without the extra `opensearch`.
    """

    def __init__(self, url: str) -> None:
        try:
            import opensearchpy
        except ImportError as error:
            raise missing_extra("opensearch") from error
        self._module: Any = opensearchpy
        self._url = url
        errors = opensearchpy.exceptions
        self.connection_errors: tuple[type[Exception], ...] = (
            errors.ConnectionError,
            errors.SerializationError,
        )
        self.status_errors: tuple[type[Exception], ...] = (errors.TransportError,)

    async def open(self) -> None:
        """Make the client."""
        user = read_credential("OPENSEARCH_USERNAME")
        password = read_credential("OPENSEARCH_PASSWORD")
        self._client: Any = self._module.AsyncOpenSearch(
            self._url,
            http_auth=(user, password or "") if user else None,
            timeout=_TIMEOUT_S,
            max_retries=0,
        )

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def index_id(self, index: str) -> str:
        """Return the index's uuid."""
        return await _index_id(self._client.indices, index, self._module.TransportError)

    def send(
        self, actions: Iterable[dict[str, Any]], limits: BulkLimits
    ) -> AsyncIterator[tuple[bool, Mapping[str, Any]]]:
        """Send all actions, and yield for each whether it was taken, and its item of the answer."""
        send: Any = self._module.helpers.async_streaming_bulk
        answers: AsyncIterator[tuple[bool, Mapping[str, Any]]] = send(
            self._client, actions, **_bulk_options(limits)
        )
        return answers

    def status_of(self, error: Exception) -> int:
        """Return the HTTP status."""
        status: int = error.status_code  # type: ignore[attr-defined]
        return status

    def reason_of(self, error: Exception) -> str:
        """Return the kind of the error."""
        return _kind(error)


def _kind(error: Exception) -> str:
    """Return the kind of an error; what is no name may repeat the request."""
    kind = str(getattr(error, "error", ""))
    return kind if _NAME.fullmatch(kind) else type(error).__name__


async def _index_id(indices: Any, index: str, refused: type[Exception]) -> str:
    """Return the uuid of an index, or of those behind an alias; "" if it is not told."""
    try:
        settings = await indices.get_settings(index=index)
    except refused as error:
        if getattr(error, "status_code", None) in (403, 404):
            return ""
        raise
    found = dict(settings)
    return ",".join(sorted(str(one["settings"]["index"].get("uuid", "")) for one in found.values()))


def _bulk_options(limits: BulkLimits) -> dict[str, Any]:
    return {
        "chunk_size": limits.max_actions,
        "max_chunk_bytes": limits.max_bytes,
        "max_retries": limits.max_retries,
        "initial_backoff": limits.first_wait_s,
        "max_backoff": limits.max_wait_s,
        "raise_on_error": False,
    }
