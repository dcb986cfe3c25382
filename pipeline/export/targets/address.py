"""`--to`: the address of a system to load into, without credentials."""

from ipaddress import ip_address
from typing import Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from pipeline.core.errors import SettingsError
from pipeline.export.targets.target import Target

_SCHEMES: Final = ("postgresql", "duckdb", "elasticsearch", "opensearch")
_ENGINES: Final = ("elasticsearch", "opensearch")
_SECRETS: Final = frozenset({"password", "sslpassword", "passwd", "api_key", "apikey"})


def scheme_of(address: str) -> str:
    """Return the system that an address names.

    Raises:
        SettingsError: if it names none, or holds a password, which process lists would show.
    """
    scheme, mark, rest = address.partition("://")
    system = {"postgres": "postgresql"}.get(scheme, scheme.partition("+")[0])
    if not mark or system not in _SCHEMES:
        raise SettingsError(
            "not an address to load into",
            which="--to",
            expected="postgresql://, duckdb:///, elasticsearch:// or opensearch://",
        )
    if system == "duckdb":
        if not rest.startswith("/") or len(rest) < 2:
            raise SettingsError(
                "names no file", which="--to", expected="duckdb:///FILE or duckdb:////FOLDER/FILE"
            )
        return system
    parts = _split(address)
    secret = parts.password is not None or any(
        name.lower() in _SECRETS for name, _ in parse_qsl(parts.query, keep_blank_values=True)
    )
    if secret or (system in _ENGINES and parts.username is not None):
        cure = {"postgresql": "PGPASSWORD or ~/.pgpass"}.get(system, f"{system.upper()}_*")
        raise SettingsError("holds a password or a key", which="--to", cure=f"use {cure} instead")
    if system in _ENGINES and not parts.hostname:
        raise SettingsError("names no host", which="--to", expected=f"{system}://HOST[:PORT]")
    return system


def make_target(address: str) -> Target:
    """Return the target at an address; nothing is connected yet.

    Raises:
        SettingsError: if the address is not usable, or if an extra is missing.
    """
    system = scheme_of(address)
    if system == "duckdb":
        from pipeline.export.targets.duckdb import DuckDbTarget

        return DuckDbTarget(address.removeprefix("duckdb:///"))
    if system == "postgresql":
        from pipeline.export.targets.postgresql import PostgresqlTarget

        return PostgresqlTarget(address)
    from pipeline.export.targets.clients import ElasticsearchClient, OpenSearchClient
    from pipeline.export.targets.search_engine import SearchEngineTarget

    url = engine_url(address)
    if system == "elasticsearch":
        return SearchEngineTarget(ElasticsearchClient(url))
    return SearchEngineTarget(OpenSearchClient(url))


def engine_url(address: str) -> str:
    """Return the web address of a search engine: HTTPS, but HTTP on this machine.

    `elasticsearch+http://` and `elasticsearch+https://` choose.
    """
    parts = _split(address)
    _, _, chosen = parts.scheme.partition("+")
    host = parts.hostname or ""
    protocol = chosen or ("http" if _is_this_machine(host) else "https")
    if protocol not in ("http", "https"):
        raise SettingsError(
            "unknown protocol", which="--to", found=protocol, expected="http, https"
        )
    shown = f"[{host}]" if ":" in host else host
    return f"{protocol}://{shown}:{parts.port or 9200}{parts.path.rstrip('/')}"


def _split(address: str) -> SplitResult:
    try:
        parts = urlsplit(address)
        parts.port  # noqa: B018  # it is checked when it is read
    except ValueError as error:
        raise SettingsError("not a usable address", which="--to") from error
    return parts


def _is_this_machine(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
