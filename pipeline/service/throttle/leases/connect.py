"""Open the leases that a run's settings name."""

from pipeline.core.environment import read_token
from pipeline.core.settings import RunSettings
from pipeline.service.throttle.leases.address import parse_address, quota_of
from pipeline.service.throttle.leases.holder import LeaseHolder
from pipeline.service.throttle.leases.leaser import Leaser

_MINUTE_S = 60.0


def open_leases(
    settings: RunSettings, api_key: str | None, leaser: Leaser | None = None
) -> LeaseHolder | None:
    """Return a holder of leases, which is not running yet; None if the quota is not shared.

    Args:
        settings: Name the quota in `quota`.
        api_key: Distinguishes quotas of different accounts.
        leaser: Leases the quota, in place of the one that `quota` names.

    Raises:
        SettingsError: for an address that cannot be used, a missing extra, or an unset token.
    """
    if leaser is None and settings.quota is not None:
        address = parse_address(settings.quota)
        token = read_token("--quota-token-env", settings.quota_token_env)
        leaser = address.leaser(address.name or quota_name(settings, api_key), token)
    if leaser is None:
        return None
    pace = settings.pace
    return LeaseHolder(
        leaser, _per_second(pace.requests_per_minute), _per_second(pace.tokens_per_minute)
    )


def quota_name(settings: RunSettings, api_key: str | None) -> str:
    """Return the name of the quota of a service and an account, which shows no key."""
    return quota_of(settings.provider.name, settings.profile.name, api_key)


def _per_second(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / _MINUTE_S
