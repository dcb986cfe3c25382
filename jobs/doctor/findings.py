"""Findings: what a check of a service found, in one line, and what to do about it."""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct

from jobs.doctor.comparability import ProbeResult
from pipeline.core.errors import BadAnswer, RequestError, RerankError, ServiceEnded, ServiceRefused
from pipeline.core.models import ModelProfile
from pipeline.core.provider import Provider
from pipeline.tokens.policies import POLICIES

_WRONG_KEY = "HTTP 401"

Status = Literal["ok", "warn", "fail"]


class Finding(Struct, frozen=True):
    """The result of one check.

    Attributes:
        error: With `fail`, the error that a run would end with.
    """

    check: str
    status: Status
    finding: str
    cure: str = ""
    error: RerankError | None = None


class Usage(Struct, frozen=True):
    """Tokens of one request.

    Attributes:
        formula: Query tokens x documents + document tokens.
        counted: What the answer reports.
    """

    num_documents: int
    formula: int
    counted: int


def describe_usage(
    name: str, usages: Sequence[Usage], *, planned_overhead: int, profile: ModelProfile
) -> Finding:
    """Return whether the service counts tokens as `rerank plan` does.

    Args:
        name: Of the check.
        usages: Of one request or more.
        planned_overhead: Tokens that packing adds for every document.
        profile: Of the model.
    """
    formula = "query tokens x documents + document tokens"
    overheads = {divmod(u.counted - u.formula, u.num_documents) for u in usages}
    overhead, rest = overheads.pop()
    if overheads or rest or overhead < 0:  # no constant number of tokens per document explains it
        ratio = sum(u.counted for u in usages) / sum(u.formula for u in usages)
        finding = f"usage is {ratio:.2f} times {formula}"
        policy = POLICIES[profile.tokenizer]
        planned = sum(policy.estimate(u.formula, u.num_documents) for u in usages)
        too_low = sum(u.counted for u in usages) / planned
        if too_low <= 1:
            return Finding(name, "ok", f"{finding}: plans overestimate")
        cure = f"multiply the tokens and the cost of `rerank plan` by {too_low:.2f}"
        return Finding(name, "warn", finding, cure)
    if not overhead:
        return Finding(name, "ok", f"usage is {formula}, exactly")
    finding = f"usage is {formula} + {overhead} per document"
    if overhead <= planned_overhead:
        return Finding(name, "ok", f"{finding}, as planned")
    cure = "expect a higher cost than `rerank plan` says"
    spare = profile.max_tokens_per_request - overhead * profile.max_documents
    if spare > 0:
        cure += f"; if requests are refused for size, set --max-tokens-per-request {spare}"
    return Finding(name, "warn", finding, cure)


def describe_probe(name: str, probe: ProbeResult) -> Finding:
    """Return the finding of the probe, and its consequence for `--merge`."""
    noise = "no noise" if not probe.repeat_sd else f"noise of {probe.repeat_sd:.2g} logits"
    rounding = "not rounded" if probe.digits is None else f"rounded to {probe.digits} digits"
    facts = f"{noise} between equal requests, {rounding}"
    if probe.tied:
        facts += f", {probe.tied:.0%} tied"
    if probe.saturated:
        facts += f", {probe.saturated:.0%} saturated at 0 or 1"
    if probe.comparable:
        return Finding(
            name,
            "ok",
            f"scores do not depend on what else is in the request ({facts}): `--merge auto` will"
            " verify it for each query at +0.5 % tokens and without another request",
        )
    moved = f"other documents shift them by {probe.set_shift:+.2g} logits, rms {probe.set_rms:.2g}"
    if probe.saturated == 1:
        finding = "every score is saturated at 0 or 1: they cannot be compared"
    elif probe.fingerprint:
        finding = f"scores are normalised over their request ({facts})"
    elif probe.is_noise_alone:
        finding = f"scores are too noisy to compare ({moved}; {facts})"
    else:
        finding = f"scores depend on what else is in the request ({moved}; {facts})"
    return Finding(
        name,
        "warn",
        finding,
        "keep `--merge auto`, which links the requests of a query and settles its top places by one"
        " more request (about +5 % tokens); `--merge trust` would rank them wrong",
    )


def describe_failure(name: str, error: ServiceEnded | RequestError, provider: Provider) -> Finding:
    """Return the failure of a request that every service should serve."""
    if isinstance(error, ServiceEnded):
        found = f" (found {error.found})" if error.found else ""
        cure = error.cure or ""
        if _WRONG_KEY in error.what and provider.other_region:
            cure += f"; a key of the other region works with --provider {provider.other_region}"
        return Finding(name, "fail", error.what + found, cure, error)
    what = describe_refusal(error)
    if isinstance(error, BadAnswer):
        wrong = RerankError("the service does not answer in the expected format", found=what)
        return Finding(name, "fail", f"not an answer: {what}", "check --provider and --url", wrong)
    refused = ServiceRefused("the service does not serve a tiny request", found=what)
    return Finding(name, "fail", what, "check --provider, --model and --url", refused)


def describe_refusal(error: RequestError) -> str:
    """Return a refusal in the service's words: status, code and message."""
    status = f"HTTP {error.status}, " if error.status else ""
    return f"{status}{error.code}" + (f": {error.message}" if error.message else "")
