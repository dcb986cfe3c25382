"""The file systems of object stores: their addresses, their credentials, and our patience.

Credentials come from the stores' usual environment. S3's and Google's are read by their SDKs
(AWS_*, with AWS_ENDPOINT_URL; GOOGLE_*); Azure's SDK reads none but those of its identities, so an
account's name, key and endpoint are read here (AZURE_STORAGE_*), as obstore reads them too.

The SDKs' own patience would hold a run for minutes at an address that takes connections and never
answers, so it is bounded here: an endpoint that refuses is given up after 6 s, one that is silent
after 45 s.
"""

import re
from typing import Any
from urllib.parse import urlsplit

from pyarrow import fs

from pipeline.core.environment import read_store_setting

CONNECT_S, SILENCE_S, ATTEMPTS = 5.0, 8.0, 5
"""Seconds to connect, seconds without a byte, attempts of one call."""

_AZURE = ("abfs", "abfss")
_AZURE_HOST = re.compile(r"([^.]+)(\.(?:dfs|blob)\..+)")


def connect(uri: str) -> tuple[fs.FileSystem, str]:
    """The file system that a URI names, and the path in it; sends next to nothing.

    Raises:
        ValueError, OSError: for a URI that cannot be used.
    """
    address = urlsplit(uri)
    if address.scheme in _AZURE and not address.query and ":" not in address.netloc:
        return _azure(address.netloc, address.path)
    # The Google SDK knows its bucket as `gs` alone in some versions, as do other tools.
    filesystem, path = fs.FileSystem.from_uri(uri.replace("gcs://", "gs://", 1))
    if isinstance(filesystem, fs.S3FileSystem):
        filesystem = _patient(filesystem)
    return filesystem, path.rstrip("/")


def _patient(filesystem: fs.S3FileSystem) -> fs.S3FileSystem:
    """The same file system with our time-outs, and one PUT for what fits in one.

    An address cannot say these, and the environment's endpoint is read for addresses alone; so
    this takes the options as pyarrow itself copies them to another process.
    """
    remade: Any = filesystem.__reduce__()
    options = remade[1][0] | {
        "region": filesystem.region,
        "proxy_options": None,
        "connect_timeout": CONNECT_S,
        "request_timeout": SILENCE_S,
        "retry_strategy": fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        "allow_delayed_open": True,
    }
    return fs.S3FileSystem(**options)


def _azure(netloc: str, path: str) -> tuple[fs.FileSystem, str]:
    """`abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/...`, or `abfs://CONTAINER/...`."""
    container, _, host = netloc.rpartition("@") if "@" in netloc else (netloc, "", "")
    match = _AZURE_HOST.fullmatch(host)
    if host and not match:
        raise ValueError("expected abfs://CONTAINER@ACCOUNT.dfs.core.windows.net/PATH")
    account = match[1] if match else read_store_setting("AZURE_STORAGE_ACCOUNT_NAME")
    if not account:
        raise ValueError("the account is missing; export AZURE_STORAGE_ACCOUNT_NAME")
    options: dict[str, Any] = {
        "account_key": read_store_setting("AZURE_STORAGE_ACCOUNT_KEY"),
        "sas_token": read_store_setting("AZURE_STORAGE_SAS_TOKEN"),
    }
    endpoint = urlsplit(read_store_setting("AZURE_STORAGE_ENDPOINT") or "")
    if endpoint.netloc:
        # The SDK wants the host without the account; an emulator has the account in its path.
        authority = endpoint.netloc.removeprefix(account)
        options["blob_storage_authority"] = authority
        options["dfs_storage_authority"] = authority.replace(".blob.", ".dfs.")
        options["blob_storage_scheme"] = options["dfs_storage_scheme"] = endpoint.scheme
    given = {name: value for name, value in options.items() if value is not None}
    return fs.AzureFileSystem(account, **given), f"{container}{path}".rstrip("/")


_S3_ERROR = re.compile(r"AWS Error (\w+) during (\w+) operation: (.*)", re.DOTALL)
_XML_ERROR = re.compile(r"<Code>(.*?)</Code>\s*<Message>(.*?)</Message>", re.DOTALL)
_NOISE = re.compile(
    r"^curlCode: \d+, | \(Request ID: .*|; Details: .*|\nRequestId:.*|No response body\.", re.DOTALL
)
_ADDRESS_CURE = "check the network and the store's address (AWS_ENDPOINT_URL)"
_RIGHTS_CURE = "check the store's key (AWS_ACCESS_KEY_ID) and what it may do"
_CURES = {
    "NETWORK_CONNECTION": _ADDRESS_CURE,
    "ACCESS_DENIED": _RIGHTS_CURE,
    "INVALID_ACCESS_KEY_ID": _RIGHTS_CURE,
    "SIGNATURE_DOES_NOT_MATCH": _RIGHTS_CURE,
    "NO_SUCH_BUCKET": "create the bucket, or check its name",
    "AccessDenied": _RIGHTS_CURE,
    "InvalidAccessKeyId": _RIGHTS_CURE,
    "SignatureDoesNotMatch": _RIGHTS_CURE,
    "NoSuchBucket": "create the bucket, or check its name",
}


def explain(message: str) -> tuple[str, str | None]:
    """What a store's error says, without the noise around it, and the cure if there is a known one.

    Both pyarrow's and obstore's errors are told in their messages alone.
    """
    if found := _S3_ERROR.search(message):
        code, operation, said = found.groups()
        said = _NOISE.sub("", said).strip().rstrip(".")
        told = f"{said} ({code} in {operation})" if said else f"{code} in {operation}"
        return told, _CURES.get(code)
    if found := _XML_ERROR.search(message):
        code, said = found.groups()
        return f"{said.strip().rstrip('.')} ({code})", _CURES.get(code)
    if "error sending request" in message:  # obstore's words for an endpoint out of reach
        return "the store is out of reach", _ADDRESS_CURE
    return _NOISE.sub("", message).strip(), None
