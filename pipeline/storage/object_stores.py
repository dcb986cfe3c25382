"""Connections to object stores: addresses, credentials, timeouts and retries.

Credentials and endpoints come from the stores' usual environment: AWS_* with AWS_ENDPOINT_URL and
the keys of AWS_PROFILE, AZURE_*, GOOGLE_*. obstore reads all of them but the profile, which is read
here. An endpoint that refuses connections is given up after about 6 s, a silent one after 45 s.
"""

import configparser
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore.store
from msgspec import Struct
from obstore.exceptions import BaseError

from pipeline.core.environment import read_store_setting


class Timeouts(Struct, frozen=True):
    """How long one call of a store may take, in seconds.

    Attributes:
        connect_s: Until a connection is made.
        silence_s: Until the first byte of an answer, including the time to send, and between two
            reads.
        request_s: A whole request, its answer included.
        retry_s: No retry begins later than this after the first attempt.
        max_retries: Retries after connection errors, timeouts, 429 and 5xx.
    """

    connect_s: float = 5.0
    silence_s: float = 20.0
    request_s: float = 300.0
    retry_s: float = 25.0
    max_retries: int = 5


def connect(address: str, timeouts: Timeouts) -> Any:
    """Return the obstore client of a bucket or container; sends nothing.

    Args:
        address: `s3://BUCKET`, `gs://BUCKET`, `abfs://CONTAINER@ACCOUNT.dfs.core.windows.net` or
            `abfs://CONTAINER`, whose account is AZURE_STORAGE_ACCOUNT_NAME.
        timeouts: How long one call may take.

    Raises:
        ValueError: for an address that cannot be used.
    """
    scheme, _, bucket = address.partition("://")
    # Plain HTTP is spoken only where the environment's endpoint says so.
    client_options: Any = {
        "allow_http": True,
        "connect_timeout": timedelta(seconds=timeouts.connect_s),
        "read_timeout": timedelta(seconds=timeouts.silence_s),
        "timeout": timedelta(seconds=timeouts.request_s),
    }
    retry_config: Any = {
        "max_retries": timeouts.max_retries,
        "retry_timeout": timedelta(seconds=timeouts.retry_s),
        "backoff": {
            "init_backoff": timedelta(seconds=0.25),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
    config: Any = _profile_keys() if scheme == "s3" else {}
    url = f"gs://{bucket}" if scheme == "gcs" else address
    try:
        return obstore.store.from_url(
            url, client_options=client_options, retry_config=retry_config, **config
        )
    except BaseError as error:
        raise ValueError(str(error).partition("\n")[0]) from error


def _profile_keys() -> dict[str, str]:
    """Return the keys of the AWS profile in use; nothing if the environment holds keys itself."""
    if read_store_setting("AWS_ACCESS_KEY_ID") is not None:
        return {}
    profile = read_store_setting("AWS_PROFILE") or "default"
    folder = Path("~/.aws").expanduser()
    files = configparser.RawConfigParser()
    files.read(
        [
            read_store_setting("AWS_CONFIG_FILE") or folder / "config",
            read_store_setting("AWS_SHARED_CREDENTIALS_FILE") or folder / "credentials",
        ]
    )
    names = {
        "aws_access_key_id": "access_key_id",
        "aws_secret_access_key": "secret_access_key",
        "aws_session_token": "session_token",
    }
    if not (read_store_setting("AWS_REGION") or read_store_setting("AWS_DEFAULT_REGION")):
        names["region"] = "region"
    return {
        names[name]: value
        for section in (f"profile {profile}", profile)
        if files.has_section(section)
        for name, value in files[section].items()
        if name in names
    }
