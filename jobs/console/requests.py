"""Describe the requests of a run for people, by their outcomes."""

from collections.abc import Mapping
from typing import Any

from jobs.console.printing import num, usd


def describe_sent(facts: Mapping[str, Any]) -> str:
    """Return how many requests were sent, and their outcomes unless all were answered.

    Args:
        facts: The numbers of `run --json` or `status --json`.
    """
    sent = num(facts["requests_sent"], "request")
    if facts["requests_sent"] == facts["requests"]:
        return sent
    outcomes = f"{facts['requests']:,} answered, {facts['requests_failed']:,} failed"
    return f"{sent} ({outcomes}, {facts['throttled']:,} refused by 429)"


def describe_unanswered(facts: Mapping[str, Any]) -> str:
    """Return the amount that requests without a usable answer may have cost."""
    requests = num(facts["unanswered"], "request")
    return f"{requests} without a usable answer, up to {usd(facts['unanswered_usd'])}"


def describe_billed(facts: Mapping[str, Any]) -> str:
    """Return the billed units: search units, if the service bills these, else tokens."""
    units = facts["search_units"]
    return num(units, "search unit") if units else num(facts["total_tokens"], "token")
