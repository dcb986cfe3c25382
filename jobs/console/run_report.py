"""The report of a run on stdout: what it did, what it cost, and what limited its speed."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from jobs.console.printing import emit, emit_facts, num, usd
from jobs.console.requests import describe_billed, describe_sent, describe_unanswered
from pipeline.core.settings import Pace, RunSettings

if TYPE_CHECKING:
    from pipeline.dataset.summary import RunSummary

LIMITED_BY = {
    "requests_per_minute": "limited by the quota of requests",
    "tokens_per_minute": "limited by the quota of tokens",
    "max_in_flight": "limited by --max-in-flight",
    "max_documents_in_flight": "limited by --max-documents-in-flight",
    "cpu": "limited by the CPU of this process",
    "pause": "limited by pauses that the service asked for",
    "source": "not limited: too few requests were ready to send",
    "outage": "the service was down",
    "storage": "waiting for storage that cannot be written",
    "cost": "waiting for budget that requests in flight have reserved",
    "operator": "paused by _pace.json",
    "": "nothing had to be sent",
}
"""The meaning of each value of `bound_by`, and of the causes in ticks."""

MOSTLY = 0.9
"""A throttled run that used a smaller share of its quota has a lower quota than the one given."""

WARNED_STATUSES = {
    "unstable": "requests disagree; the order below the certified depth is uncertain",
    "incomplete": "a request failed for good",
}


def show_report(summary: "RunSummary", settings: RunSettings, output_name: str) -> None:
    """Print the summary of a run for people."""
    emit_facts(_facts(summary, settings, output_name))
    for status, meaning in WARNED_STATUSES.items():
        if count := summary.merge_status.get(status):
            emit(f"warning: {num(count, 'query', 'queries')} {status}: {meaning}")


def _facts(
    summary: "RunSummary", settings: RunSettings, output_name: str
) -> Iterator[tuple[str, str]]:
    candidates = summary.candidates_done
    scored = candidates - summary.rejected - summary.skipped
    queries = num(summary.groups_done, "query", "queries")
    yield "ranked", f"{queries}, {scored:,} of {num(candidates, 'candidate')} scored"
    if summary.rejected or summary.skipped:
        text = f"{summary.rejected:,} rejected, {summary.skipped:,} skipped"
        reasons = _counts(summary.reject_reasons)
        yield "without score", text + (f" ({reasons})" if reasons else "")
    numbers = summary.as_json()
    sent = f"{describe_sent(numbers)} to {settings.profile.name}"
    sent += f", {describe_billed(numbers)}"
    if settings.profile.usd_per_unit:
        would_cost = "would cost " if settings.provider.name == "emulator" else ""
        sent += f", {would_cost}{usd(summary.cost_usd)}"
    yield "sent", sent
    if summary.all_runs_usd > summary.cost_usd + summary.unanswered_usd:
        yield "all runs", f"up to {usd(summary.all_runs_usd)} on this output"
    if summary.unanswered:
        yield "perhaps paid", describe_unanswered(numbers)
    if summary.requests_reused:
        yield "reused", f"{num(summary.requests_reused, 'answer')} from the score store"
    if summary.partial_groups or summary.saved_usd:
        queries = num(summary.partial_groups, "query", "queries")
        text = f"{num(summary.documents_reused, 'score')} of {queries}"
        if settings.profile.usd_per_million_tokens:
            saved = "saved" if summary.saved_usd >= 0 else "cost"
            text += f", {saved} about {usd(abs(summary.saved_usd))}"
        yield "reused in part", text
    yield "merged", _counts(summary.merge_status) or "nothing"
    if summary.truncated_documents or summary.truncated_queries:
        limit = f"over {settings.profile.max_tokens_per_document:,} tokens"
        documents = num(summary.truncated_documents, "document")
        queries = num(summary.truncated_queries, "query", "queries")
        yield "truncated", f"{documents}, {queries} {limit}"
    if summary.size_refusals:
        refusals = num(summary.size_refusals, "request was", "requests were")
        yield "packed smaller", f"after {refusals} refused for size"
    yield from _pace(summary, settings)
    yield "output", f"{output_name} ({num(summary.parts_done, 'part')})"


def _pace(summary: "RunSummary", settings: RunSettings) -> Iterator[tuple[str, str]]:
    took = f"{summary.seconds:,.1f} s"
    if summary.requests:
        took += f", {summary.requests / max(summary.seconds, 1e-9):,.1f} requests/s"
        p50, p99 = summary.latency_ms["p50"], summary.latency_ms["p99"]
        took += f", latency {p50:,.0f} ms (p99 {p99:,.0f} ms)"
    yield "took", took
    if summary.retries or summary.throttled:
        yield "retried", f"{summary.retries:,} after failures, {summary.throttled:,} after 429"
    pace = LIMITED_BY.get(summary.bound_by, summary.bound_by)
    used = summary.quota_used if summary.requests else None
    if used is not None and used < MOSTLY and summary.throttled and _is_quota(summary.bound_by):
        pace = "limited by the service's own quota, which is lower than the one given"
        pace += _advice(used, summary, settings.pace)
    if used is not None and summary.bound_by != "source":
        pace = f"{used:.0%} of the quota; {pace}"
    yield "pace", pace


def _is_quota(bound_by: str) -> bool:
    return bound_by in ("requests_per_minute", "tokens_per_minute", "pause")


def _advice(used: float, summary: "RunSummary", pace: Pace) -> str:
    """Return which quota to give next time, to two digits; nothing if that is not known."""
    name = summary.bound_by if summary.bound_by != "pause" else "requests_per_minute"
    given = getattr(pace, name)
    granted = float(f"{used * (given or 0.0):.1e}")
    return f": try --{name.replace('_', '-')} {granted:.0f}" if granted >= 1 else ""


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in sorted(counts.items()))
