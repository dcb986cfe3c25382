"""A client of the service that a run's settings name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pipeline.core.errors import SettingsError
from pipeline.core.settings import RunSettings
from pipeline.service.client import RerankClient, RetryPolicy
from pipeline.service.cost_budget import CostBudget
from pipeline.service.metrics import Metrics
from pipeline.service.throttle.interface import Admission
from pipeline.service.transport import HttpTransport, Timeouts
from pipeline.service.wire.formats import WIRE_FORMATS


@asynccontextmanager
async def open_client(
    settings: RunSettings,
    api_key: str | None,
    throttle: Admission,
    metrics: Metrics,
    budget: CostBudget,
    *,
    policy: RetryPolicy | None = None,
    timeouts: Timeouts | None = None,
) -> AsyncIterator[RerankClient]:
    """Yield a client that holds its connections until the block ends.

    Args:
        settings: Address, wire format, model, attempts and allowed outage.
        api_key: The key; None if the service takes none. Never shown.
        throttle: The pace, shared by all that use the same account.
        metrics: Where attempts, tokens, money and latencies are counted.
        budget: What may be spent, shared by all that count against the same limit.
        policy: How long to insist; by default what the settings say.
        timeouts: How long an attempt may take.

    Raises:
        SettingsError: if the address cannot be parsed, no header can hold the key, or the endpoint
            takes no instruction and there is one.
    """
    if api_key is not None and not (api_key.isascii() and api_key.isprintable()):
        raise SettingsError(
            "the key holds characters that cannot be sent", which=settings.provider.api_key_env
        )
    transport = HttpTransport(
        settings.url,
        WIRE_FORMATS[settings.provider.wire_format],
        model=settings.profile.name,
        instruct=settings.instruct,
        api_key=api_key,
        timeouts=timeouts,
    )
    policy = policy or RetryPolicy(
        max_attempts=settings.max_attempts, max_outage_s=settings.max_outage_s
    )
    async with transport:
        yield RerankClient(
            transport, throttle=throttle, metrics=metrics, budget=budget, policy=policy
        )
