"""Connect to the endpoint that a run's settings name, through the environment's proxy if any."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.core.environment import read_proxy
from pipeline.core.errors import SettingsError
from pipeline.core.settings import RunSettings
from pipeline.service.cost_budget import CostBudget
from pipeline.service.endpoint import Endpoint, RetryPolicy
from pipeline.service.telemetry import Telemetry, TracedTransport
from pipeline.service.throttle.interface import Admission
from pipeline.service.transport import HttpTransport, Timeouts, Transport
from pipeline.service.wire.formats import WIRE_FORMATS


@asynccontextmanager
async def open_endpoint(
    settings: RunSettings,
    api_key: str | None,
    throttle: Admission,
    budget: CostBudget,
    *,
    policy: RetryPolicy | None = None,
    timeouts: Timeouts | None = None,
    transport: Transport | None = None,
    telemetry: Telemetry | None = None,
) -> AsyncIterator[Endpoint]:
    """Yield the endpoint, whose connections are held until the block ends.

    Args:
        settings: Address, wire format, model, attempts and allowed outage.
        api_key: The key; None if the service takes none. Never shown.
        throttle: The pace, shared by all that use the same account.
        budget: What may be spent, shared by all that count against the same limit.
        policy: How long to retry; by default what the settings say.
        timeouts: How long an attempt may take.
        transport: Carries the requests; by default HTTP.
        telemetry: Gets a span and a measurement of each request; None for none.

    Raises:
        SettingsError: if the address cannot be parsed, no header can hold the key, the environment
            names an unusable proxy, or the endpoint does not take an option that is given.
    """
    policy, billing = policy or _retry_policy(settings), settings.profile.billing
    if transport is not None:
        yield Endpoint(transport, throttle=throttle, budget=budget, policy=policy, billing=billing)
        return
    async with _http_transport(settings, api_key, timeouts) as transport:
        if telemetry is not None:
            transport = TracedTransport(transport, telemetry, settings.url)
        yield Endpoint(transport, throttle=throttle, budget=budget, policy=policy, billing=billing)


def _retry_policy(settings: RunSettings) -> RetryPolicy:
    if settings.max_outage_s is None:
        return RetryPolicy(max_attempts=settings.max_attempts)
    return RetryPolicy(
        max_attempts=settings.max_attempts,
        max_outage_s=settings.max_outage_s,
        max_unreached_s=None,
    )


def _http_transport(
    settings: RunSettings, api_key: str | None, timeouts: Timeouts | None
) -> HttpTransport:
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError(
            "the key holds characters that cannot be sent", which=settings.provider.api_key_env
        )
    return HttpTransport(
        settings.url,
        WIRE_FORMATS[settings.provider.wire_format],
        model=settings.profile.name,
        instruct=settings.instruct,
        fps=settings.fps,
        api_key=api_key,
        proxy=read_proxy(settings.url),
        timeouts=timeouts or Timeouts.of_total(settings.timeout_s),
    )
