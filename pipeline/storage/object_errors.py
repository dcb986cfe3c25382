"""Errors of obstore as errors of files, in one place."""

import contextlib
from collections.abc import Iterator

from obstore.exceptions import (
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)

from pipeline.storage.errors import ChangedObject, MissingObject, StoreError

_ADDRESS_CURE = "check the network and the store's address (AWS_ENDPOINT_URL, AWS_REGION or alike)"
_RIGHTS_CURE = "check the store's credentials (AWS_*, AZURE_* or GOOGLE_*) and their permissions"
_BUCKET_CURE = "create the bucket, or check its name"

_DENIALS = (PermissionDeniedError, UnauthenticatedError)
_METADATA_HOSTS = ("169.254.169.254", "metadata.google.internal")
"""Asked for a machine's own credentials if the environment holds none."""


@contextlib.contextmanager
def store_errors() -> Iterator[None]:
    """Raise obstore's errors as OSErrors that state cause and cure.

    A store's messages hold the request's address, which may hold a signature: it is left out.
    """
    try:
        yield
    except FileNotFoundError as error:
        raise MissingObject("no such object, bucket or container", _BUCKET_CURE) from error
    except PreconditionError as error:
        raise ChangedObject("it was replaced while it was read") from error
    except BaseError as error:
        line, _, _ = str(error).partition("\n")
        # The errors of a listing have no types of their own.
        if "404 Not Found" in line:
            raise MissingObject("no such bucket or container", _BUCKET_CURE) from error
        if isinstance(error, _DENIALS) or "403 Forbidden" in line or "401 Unauthorized" in line:
            denied = f"access denied{_code(error)}"
            raise StoreError(denied, _RIGHTS_CURE, is_lasting=True) from error
        if any(host in line for host in _METADATA_HOSTS):
            raise StoreError("no credentials found", _RIGHTS_CURE, is_lasting=True) from error
        cause = line.rpartition(" - ")[2].partition("<")[0].rstrip(": \ufeff")
        if "error sending request" in cause:
            cause = "no connection, or no answer in time"
        raise StoreError(cause + _code(error), _ADDRESS_CURE) from error
    except ValueError as error:  # a path with empty or relative parts
        raise StoreError(str(error), is_lasting=True) from error


def _code(error: Exception) -> str:
    """Return the store's own name of an error, in parentheses, where the answer holds one."""
    code = str(error).partition("<Code>")[2].partition("</Code>")[0]
    return f" ({code})" if code else ""
