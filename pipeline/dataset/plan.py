"""Plan what a run would send and cost, without sending a request.

Requests are exact, since every group is planned as a run plans it. Tokens are exact for a small
input; for a large one they are estimated from counted samples, since counting every text would take
longer than all other work.
"""

from typing import Any

import numpy as np
from msgspec import Struct, field
from msgspec.structs import asdict

from pipeline.core.arrays import IntArray
from pipeline.core.facts import as_html, as_text
from pipeline.core.models import PROFILES
from pipeline.core.settings import RunSettings
from pipeline.dataset.reader import SHOWN_FILES
from pipeline.dataset.search_unit_estimate import SearchUnitEstimate
from pipeline.dataset.summary import SCHEMA_VERSION
from pipeline.dataset.token_estimate import TokenEstimate
from pipeline.planning.plan import Plan
from pipeline.planning.planner import Planner
from pipeline.ranking.merging.levels import most_further_requests
from pipeline.source.source import Source
from pipeline.tokens.policies import POLICIES


class DatasetPlan(Struct):
    """The numbers of a plan; counts unless the name says otherwise.

    Attributes:
        groups: Queries of the input.
        candidates: Candidates of the input.
        requests: Requests of the first round, exact.
        requests_max: These, and the further ones that groups of several requests may take at most.
        split_groups: Groups that take several requests.
        tokens: query_tokens x documents + sum(document_tokens) of the first round.
        search_units: Search units of the first round, of a vendor that bills these; estimated.
        cost_usd: The price of these tokens, or search units.
        minutes: How long a run takes at the quota; None without a quota.
        bound_by: The limit that takes longest, `nothing` without a quota.
        image_tokens: Upper bound of those of `tokens` that are tokens of images and videos.
        tokens_per_qwen_token: 1, or the measured mean for a model with a tokenizer of its own;
            tokens, cost, time and truncation are then estimates.
        truncated_documents: Candidates whose text is cut at the per-item limit.
        truncated_queries: Groups whose query is cut at the per-item limit.
        skipped: Candidates with nothing to score.
        rejected: Candidates that fit no request.
        layout: What the rows of the input are.
        files: Files of the input.
        files_beside: Where INPUT is one file, files beside it whose names differ in digits alone.
        repeated_ids: Candidates whose doc_id occurs earlier in their query.
        skipped_files: Other files that the input's name covers; they are not read.
        skipped_examples: The first of them.
        widened_columns: Columns whose types differ in the input's files, with the output's type.
    """

    groups: int = 0
    candidates: int = 0
    requests: int = 0
    requests_max: int = 0
    split_groups: int = 0
    tokens: int = 0
    image_tokens: int = 0
    tokens_per_qwen_token: float = 1.0
    search_units: int = 0
    cost_usd: float = 0.0
    minutes: float | None = None
    bound_by: str = "nothing"
    truncated_documents: int = 0
    truncated_queries: int = 0
    skipped: int = 0
    rejected: int = 0
    layout: str = ""
    files: int = 0
    files_beside: int = 0
    repeated_ids: int = 0
    skipped_files: int = 0
    skipped_examples: list[str] = field(default_factory=list)
    widened_columns: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the numbers that are not empty, a line each."""
        return as_text(asdict(self))

    def _repr_html_(self) -> str:
        """Return the same as a table, for notebooks."""
        return as_html("Plan", asdict(self))

    def as_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints."""
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def plan_dataset(source: Source, settings: RunSettings) -> DatasetPlan:
    """Plan every group of a dataset and add up the numbers.

    Raises:
        InputError: if the candidates cannot be read or understood.
    """
    planner, listing = Planner(settings), source.listing
    checked = source.check_ids()
    plan = DatasetPlan(
        layout=source.layout_found,
        files=len(listing.files),
        files_beside=listing.num_beside,
        repeated_ids=checked.num_repeated,
        skipped_files=len(listing.skipped),
        skipped_examples=list(listing.skipped[:SHOWN_FILES]),
        widened_columns={name: str(kind) for name, kind in source.widened.items()},
    )
    num_texts = source.num_candidates or source.num_rows
    totals = _TokenTotals(planner, num_texts)
    searches = None
    if (rule := settings.profile.search_units) is not None:
        searches = SearchUnitEstimate(planner, rule, num_texts)
    for batch in source.iter_batches():
        for group in batch.iter_groups(planner.measure(batch)):
            group_plan = planner.plan(group)
            totals.add(group_plan, _add(plan, group_plan))
            if searches is not None:
                searches.add(group_plan)
    plan.tokens_per_qwen_token = totals.policy.mean_ratio
    plan.truncated_documents = totals.truncated_documents
    plan.truncated_queries = totals.truncated_queries
    plan.tokens = totals.tokens()
    if searches is not None:
        plan.search_units = searches.total()
    extra = round((settings.profile.billing.image_weight - 1) * plan.image_tokens)
    billed = plan.tokens + extra if searches is None else plan.search_units
    plan.cost_usd = billed * settings.profile.usd_per_unit
    minutes = {
        name: amount / quota
        for name, amount, quota in (
            ("requests_per_minute", plan.requests, settings.pace.requests_per_minute),
            ("tokens_per_minute", plan.tokens, settings.pace.tokens_per_minute),
        )
        if quota is not None
    }
    if minutes:
        plan.bound_by = max(minutes, key=lambda name: minutes[name])
        plan.minutes = minutes[plan.bound_by]
    return plan


def _add(plan: DatasetPlan, group: Plan) -> IntArray:
    """Count a group; return how many of its requests hold each unit."""
    requests, skipped = group.packing.requests, sum(reject.skipped for reject in group.rejects)
    plan.groups += 1
    plan.candidates += group.group.num_candidates
    plan.requests += len(requests)
    plan.requests_max += len(requests)
    if group.settings.merge == "auto":
        plan.requests_max += most_further_requests(group.packing, group.settings.depth)
    plan.split_groups += len(requests) > 1
    if group.settings.profile.is_multimodal:
        plan.image_tokens += sum(map(group.num_image_tokens, requests))
    plan.skipped += skipped
    plan.rejected += len(group.rejects) - skipped

    times: IntArray = np.zeros(len(group.units), dtype=np.int64)
    for units in requests:
        times[units] += 1
    return times


class _TokenTotals:
    """Tokens as the model counts them, and texts it cuts; estimated if its tokenizer is not Qwen's.

    The model itself cuts texts at its own limit. A lower one that an option sets is the run's: its
    cuts leave up to 64 tokens more or, for another tokenizer, a multiple of the limit.

    Args:
        planner: Plans the groups.
        num_texts: About how many texts will be added.
    """

    def __init__(self, planner: Planner, num_texts: int) -> None:
        self.truncated_documents = self.truncated_queries = 0
        self._planner = planner
        profile = planner.settings.profile
        self.policy = POLICIES[profile.tokenizer]
        limit, known = profile.max_tokens_per_document, PROFILES.get(profile.name, profile)
        self._kept = self.policy.kept_tokens(max(limit, known.max_tokens_per_document))
        self._service_cuts = limit * self.policy.cut_factor > self._kept
        self._estimate = TokenEstimate(planner.counter, num_texts, cap=self._kept)
        self._num_pairs = 0

    def add(self, group: Plan, times: IntArray) -> None:
        """Add a group, each unit of which is sent as often as `times` says."""
        num_pairs, query_tokens = int(times.sum()), self._planner.exact_query_tokens(group)
        self._num_pairs += num_pairs
        self._estimate.add_units(group.units, times)
        self._estimate.add_query(query_tokens, num_pairs)
        if self._service_cuts:
            self.truncated_documents += self._num_cut_by_service(group)
            self.truncated_queries += query_tokens > self._kept
        else:
            self.truncated_documents += group.num_truncated
            self.truncated_queries += group.query_cut

    def tokens(self) -> int:
        """Return the tokens of all that was added."""
        return self.policy.estimate(self._estimate.total(), self._num_pairs)

    def _num_cut_by_service(self, group: Plan) -> int:
        """Return how many candidates have a text of which the service keeps only a part."""
        units = group.units
        tokens, unsure = units.tokens.copy(), ~units.exact & (units.tokens > self._kept)
        places = np.flatnonzero(unsure)
        tokens[places] = self._planner.counter.counts(units.texts(places), self._kept + 1)
        cut_documents = units.documents[tokens > self._kept]
        return int(np.isin(group.document_of_row, cut_documents).sum())
