"""`rerank doctor`: check key, endpoint, limits and score comparability with a few tiny requests."""

import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click
from msgspec.structs import asdict

from jobs.console import logs
from jobs.console.printing import emit, emit_json, json_option, num, usd
from jobs.doctor.findings import Finding
from jobs.options.command import Command
from jobs.options.config_file import config_option
from jobs.options.service_options import limit_options, service_options
from jobs.options.settings import model_profile, read_api_key, service_url
from jobs.process.event_loop import run_until_interrupted
from pipeline.core.errors import SettingsError
from pipeline.core.providers import EMULATOR_PATH, find_provider
from pipeline.core.settings import Pace, RunSettings
from pipeline.service.metrics import Metrics

if TYPE_CHECKING:
    from jobs.doctor.comparability import ProbeResult

MAX_COST_USD = 0.05
"""All checks together take about 20,000 tokens; on a more expensive service they end early."""
MAX_SEARCH_COST_USD = 0.10
"""The same where search units are billed, of which they take about 20."""
MAX_OUTAGE_S = 15.0
MAX_ATTEMPTS = 2
COLORS = {"ok": "green", "warn": "yellow", "fail": "red"}


@click.command(
    cls=Command,
    examples=(
        "rerank doctor --provider emulator",
        "rerank doctor --comparability",
    ),
)
@service_options
@limit_options
@click.option(
    "--comparability",
    is_flag=True,
    help="Also test whether scores of different requests are comparable, with 3 requests of"
    " up to 140 sentences.",
)
@click.option("--output", metavar="OUTPUT", help="Also test whether OUTPUT can be written.")
@json_option
@config_option
def doctor(as_json: bool, comparability: bool, output: str | None, **options: Any) -> None:
    """Check key, endpoint, limits and score comparability with a handful of tiny requests.

    Each check prints one line: ok, warn or fail, what was checked, what was found, and the cure.
    Only texts of our own are sent. The exit code is 0 if nothing failed, 2 without a key, 4 if the
    service refuses or its answers are not understood, and 8 if it is down or cannot be reached.
    """
    logs.configure("text", logging.WARNING)
    report = Report(print_lines=not as_json)
    with _offline_service(options) as url:
        run_until_interrupted(
            lambda: _examine(options, url, report, comparability=comparability, output=output)
        )
    report.end()


@dataclass(slots=True)
class Report:
    """The findings, printed as they come or at the end as one JSON object.

    Attributes:
        settings: Of the service, once they are known.
        probe: The result of the comparability probe, if it was made.
    """

    print_lines: bool
    findings: list[Finding] = field(default_factory=list)
    metrics: Metrics = field(default_factory=Metrics)
    settings: RunSettings | None = None
    probe: "ProbeResult | None" = None

    def add(self, finding: Finding) -> None:
        """Record what a check found, and print it."""
        self.findings.append(finding)
        if self.print_lines:
            line = f"{finding.check:<14} {finding.finding}"
            if finding.cure:
                line += f"; {finding.cure}"
            emit(f"{click.style(f'{finding.status:<5}', fg=COLORS[finding.status])}{line}")

    def end(self) -> None:
        """Print the cost, or the JSON object, and raise the error of the first failed check.

        Raises:
            RerankError: if a check failed.
        """
        metrics, settings = self.metrics, self.settings
        if self.print_lines:
            requests, tokens = num(metrics.answered, "request"), num(metrics.tokens, "token")
            is_rehearsal = settings is not None and settings.provider.name == "emulator"
            cost = "would cost" if is_rehearsal else "cost"
            emit(f"{cost}: {requests}, {tokens}, {usd(metrics.cost_usd)}")
        else:
            facts = ("check", "status", "finding", "cure")
            emit_json(
                {
                    "provider": settings and settings.provider.name,
                    "model": settings and settings.profile.name,
                    "checks": [{name: getattr(f, name) for name in facts} for f in self.findings],
                    "comparability": self.probe and asdict(self.probe),
                    "requests": metrics.answered,
                    "total_tokens": metrics.tokens,
                    "cost_usd": metrics.cost_usd,
                }
            )
        for finding in self.findings:
            if finding.error is not None:
                raise finding.error


async def _examine(
    options: dict[str, Any],
    url: str | None,
    report: Report,
    *,
    comparability: bool,
    output: str | None,
) -> None:
    if output is not None:
        from jobs.doctor.surroundings import check_output

        report.add(await check_output(output))
    async for finding in _findings(options, url, report, comparability=comparability):
        report.add(finding)


async def _findings(
    options: dict[str, Any], url: str | None, report: Report, *, comparability: bool
) -> AsyncIterator[Finding]:
    from jobs.doctor.address import check_address
    from jobs.doctor.checks import ServiceChecks
    from jobs.doctor.surroundings import check_clock
    from pipeline.service.client import RerankClient
    from pipeline.service.connect import open_endpoint
    from pipeline.service.cost_budget import CostBudget
    from pipeline.service.throttle.throttle import Throttle
    from pipeline.tokens.counter import TokenCounter

    try:
        settings = _make_settings(options, url)
        api_key = read_api_key(options)
    except SettingsError as error:
        yield Finding("settings", "fail", _without_cure(error), error.cure or "", error)
        return
    report.settings = settings
    variable = options["api_key_env"] or settings.provider.api_key_env
    key = f"key from {variable}" if variable else "no key needed"
    yield Finding("settings", "ok", f"{settings.provider.name}, {settings.profile.name}, {key}")

    address = await check_address(settings.url)
    yield address
    if address.status == "fail":
        return
    yield await check_clock(settings.url)
    throttle = Throttle(settings.pace)
    budget = CostBudget(settings.max_cost_usd, settings.profile.usd_per_unit)
    async with open_endpoint(settings, api_key, throttle, budget) as endpoint:
        client = RerankClient(endpoint, metrics=report.metrics)
        checks = ServiceChecks(client, settings, TokenCounter())
        async for finding in checks.run(comparability=comparability):
            yield finding
        report.probe = checks.probe


def _make_settings(options: dict[str, Any], url: str | None) -> RunSettings:
    profile = model_profile(options)
    return RunSettings(
        provider=find_provider(options["provider"]),
        profile=profile,
        url=service_url(options, url),
        pace=Pace(
            requests_per_minute=profile.requests_per_minute,
            tokens_per_minute=profile.tokens_per_minute,
        ),
        instruct=options["instruct"],
        max_attempts=MAX_ATTEMPTS,
        max_outage_s=MAX_OUTAGE_S,
        timeout_s=options["timeout"],
        max_cost_usd=(MAX_COST_USD if profile.search_units is None else MAX_SEARCH_COST_USD)
        if profile.usd_per_unit
        else None,
    )


def _without_cure(error: SettingsError) -> str:
    return str(error).removesuffix(f"; {error.cure}")


@contextmanager
def _offline_service(options: dict[str, Any]) -> Iterator[str | None]:
    """Yield the address of an emulator of our own for provider `emulator` without `--url`."""
    if options["provider"] != "emulator" or options["url"]:
        yield None
        return
    from pipeline.api.emulator_process import emulator_process

    with emulator_process() as address:
        yield address + EMULATOR_PATH
