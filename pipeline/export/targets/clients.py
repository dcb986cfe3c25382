"""The official clients of Elasticsearch and OpenSearch, behind one interface."""

import re
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Any, Final

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


class BulkClient(ABC):
    """The interface of both clients; each is an official module with its own settings.

    Attributes:
        connection_errors: Errors that the module raises for no answer, or an unreadable one.
        status_errors: Errors that it raises for an answer with an HTTP status of failure.
    """

    connection_errors: tuple[type[Exception], ...]
    status_errors: tuple[type[Exception], ...]
    _module: Any
    _client: Any

    @abstractmethod
    async def open(self) -> None:
        """Make the client; it must be made in a running event loop."""

    async def close(self) -> None:
        """Close its connections."""
        await self._client.close()

    async def index_id(self, index: str) -> str:
        """Return the uuid of an index (of all behind an alias), or "" if it cannot be read."""
        try:
            settings = await self._client.indices.get_settings(index=index)
        except self.status_errors as error:
            if getattr(error, "status_code", None) in (403, 404):
                return ""
            raise
        found = dict(settings).values()
        return ",".join(sorted(str(one["settings"]["index"].get("uuid", "")) for one in found))

    def send(
        self, actions: Iterable[dict[str, Any]], limits: BulkLimits
    ) -> AsyncIterator[tuple[bool, Mapping[str, Any]]]:
        """Send all actions, and yield for each whether it was taken, and its item of the answer."""
        answers: AsyncIterator[tuple[bool, Mapping[str, Any]]] = (
            self._module.helpers.async_streaming_bulk(
                self._client,
                actions,
                chunk_size=limits.max_actions,
                max_chunk_bytes=limits.max_bytes,
                max_retries=limits.max_retries,
                initial_backoff=limits.first_wait_s,
                max_backoff=limits.max_wait_s,
                raise_on_error=False,
            )
        )
        return answers

    def status_of(self, error: Exception) -> int:
        """Return the HTTP status of a status error."""
        status: int = error.status_code  # type: ignore[attr-defined]
        return status

    def reason_of(self, error: Exception) -> str:
        """Return the kind of a status error, never its text: that may repeat the request."""
        kind = str(getattr(error, "error", ""))
        return kind if _NAME.fullmatch(kind) else type(error).__name__


class ElasticsearchClient(BulkClient):
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
        self._module = elasticsearch
        self._url = url
        self.connection_errors = (elasticsearch.TransportError,)
        self.status_errors = (elasticsearch.ApiError,)

    async def open(self) -> None:
        """Make the client."""
        key = read_credential("ELASTICSEARCH_API_KEY")
        user = read_credential("ELASTICSEARCH_USERNAME")
        password = read_credential("ELASTICSEARCH_PASSWORD")
        self._client = self._module.AsyncElasticsearch(
            self._url,
            api_key=key,
            basic_auth=(user, password or "") if user and not key else None,
            request_timeout=_TIMEOUT_S,
            max_retries=0,
        )


class OpenSearchClient(BulkClient):
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
        self._module = opensearchpy
        self._url = url
        errors = opensearchpy.exceptions
        self.connection_errors = (
            errors.ConnectionError,
            errors.SerializationError,
        )
        self.status_errors = (errors.TransportError,)

    async def open(self) -> None:
        """Make the client."""
        user = read_credential("OPENSEARCH_USERNAME")
        password = read_credential("OPENSEARCH_PASSWORD")
        self._client = self._module.AsyncOpenSearch(
            self._url,
            http_auth=(user, password or "") if user else None,
            timeout=_TIMEOUT_S,
            max_retries=0,
        )
