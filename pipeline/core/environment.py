"""The process environment, as far as the library reads it: keys, and settings of object stores.

No other module of the library reads `os.environ`. The SDKs of object stores and HTTP proxies read
their usual variables by themselves.
"""

import os

from pipeline.core.errors import SettingsError
from pipeline.core.providers import Provider

_OFFLINE_KEY = "offline"
"""The emulator accepts any key that is not empty."""


def read_api_key(provider: Provider, variable: str | None = None) -> str | None:
    """Return the key for a provider; None if the provider takes none.

    Args:
        provider: Names the variable that holds the key, unless `variable` is given.
        variable: Another variable to read.

    Raises:
        SettingsError: if a key is needed and the variable is unset or blank, or holds what cannot
            be sent.
    """
    is_needed = provider.requires_key or variable is not None
    variable = variable or provider.api_key_env
    if variable is None:
        return _OFFLINE_KEY if provider.name == "emulator" else None
    key = os.environ.get(variable, "").strip()
    if not key and not is_needed:
        return None
    if not key:
        raise SettingsError(
            "no API key",
            which=variable,
            cure=f"export {variable}=... or name another variable with --api-key-env",
        )
    if not (key.isascii() and key.isprintable()):
        raise SettingsError(
            "the key holds characters that cannot be sent",
            which=variable,
            expected="printable ASCII",
            cure="copy the key again, without line breaks",
        )
    return key


def read_store_setting(variable: str) -> str | None:
    """Return a setting of an object store whose SDK does not read the variable; None if unset."""
    return os.environ.get(variable)


def read_credential(variable: str) -> str | None:
    """Return a user, password or key of a system that results are loaded into; None if unset."""
    return os.environ.get(variable) or None
