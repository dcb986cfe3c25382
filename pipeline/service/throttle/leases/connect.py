"""The leases that a run's settings name."""

from pipeline.core.environment import read_token
from pipeline.core.settings import RunSettings
from pipeline.service.throttle.leases.address import parse_address
from pipeline.service.throttle.leases.holder import LeaseHolder

_MINUTE_S = 60.0


def open_leases(settings: RunSettings, api_key: str | None) -> LeaseHolder:
    """Return a holder of leases of the quota that `settings.quota` names; it is not running yet.

    Raises:
        SettingsError: for an address that cannot be used, a missing extra, or an unset token.
    """
    assert settings.quota is not None
    address = parse_address(settings.quota)
    bucket = address.bucket(settings.provider.name, settings.profile.name, api_key)
    token = read_token("--quota-token-env", settings.quota_token_env)
    pace = settings.pace
    return LeaseHolder(
        address.leaser(bucket, token),
        _per_second(pace.requests_per_minute),
        _per_second(pace.tokens_per_minute),
    )


def _per_second(per_minute: float | None) -> float | None:
    return None if per_minute is None else per_minute / _MINUTE_S
