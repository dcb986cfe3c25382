"""What a run would send and cost: the numbers of the plans of its groups."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.group_world import make_planner, make_settings, tokens
from support.tables import candidates, write

from pipeline.core.settings import Pace
from pipeline.dataset.plan import DatasetPlan, plan_dataset
from pipeline.source.listing import list_input
from pipeline.source.source import Source
from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.measures import measure_texts

words = st.sampled_from(["alpha ", "beta, ", "漢字", "12 34 ", "same", " "])
texts = st.none() | st.lists(words, max_size=40).map("".join)


def plan_of(table: pa.Table, folder: Path, **how: Any) -> tuple[DatasetPlan, Source]:
    source = Source(list_input(str(write(table, folder / "candidates.parquet"))))
    return plan_dataset(source, make_settings(**how)), source


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.lists(texts, min_size=1, max_size=20), min_size=1, max_size=5),
    st.integers(1, 9),
    st.integers(20, 300),
    st.sampled_from(["truncate", "max-passage"]),
)
def test_the_numbers_are_those_of_the_groups_as_a_run_plans_them(
    tmp_path, groups, max_documents, max_tokens, long_documents
):
    how = {
        "max_documents": max_documents,
        "max_tokens_per_document": 30,
        "max_tokens_per_request": max_tokens,
        "long_documents": long_documents,
    }
    table = candidates(
        [len(group) for group in groups],
        text=pa.array([text for group in groups for text in group], pa.string()),
    )

    plan, source = plan_of(table, tmp_path, **how)

    planner, planned = make_planner(**how), []
    for batch in source.iter_batches():
        measures = measure_texts(batch.texts)
        planned += [planner.plan(group) for group in batch.iter_groups(measures)]
    requests = [request for group in planned for request in group.requests()]
    assert plan.requests == len(requests)
    assert plan.split_groups == sum(len(group.packing.homes) > 1 for group in planned)
    assert plan.tokens == sum(
        tokens(text) + tokens(request.query) for request in requests for text in request.documents
    )
    rejects = [reject for group in planned for reject in group.rejects]
    assert plan.skipped == sum(reject.skipped for reject in rejects)
    assert plan.rejected == len(rejects) - plan.skipped
    assert plan.truncated_documents == sum(group.num_truncated for group in planned)
    assert (plan.groups, plan.candidates) == (len(groups), table.num_rows)
    assert plan.requests <= plan.requests_max <= plan.requests + 2 * plan.split_groups


def test_an_input_without_rows_needs_nothing(tmp_path):
    plan, _ = plan_of(candidates([]), tmp_path)

    assert (plan.groups, plan.requests, plan.tokens, plan.cost_usd) == (0, 0, 0, 0.0)


def test_columns_whose_types_differ_in_the_files_are_told_with_the_outputs_type(tmp_path):
    for number, price in enumerate((pa.array([1.5], pa.float32()), pa.array([2.5]))):
        table = candidates([1], query_id=[f"q{number}"], price=price)
        write(table, tmp_path / "in" / f"{number}.parquet")

    plan = plan_dataset(Source(list_input(str(tmp_path / "in"))), make_settings())

    assert plan.as_json()["widened_columns"] == {"price": "double"}


def test_trusted_requests_need_no_final_ones(tmp_path):
    table = candidates([50])

    auto, _ = plan_of(table, tmp_path, max_documents=20)
    trust, _ = plan_of(table, tmp_path, max_documents=20, merge="trust")

    assert (auto.requests, auto.requests_max) == (3, 5)
    assert (trust.requests, trust.requests_max) == (3, 3)


@pytest.mark.parametrize(
    ("pace", "minutes", "bound_by"),
    [
        (Pace(requests_per_minute=4), 2.5, "requests_per_minute"),
        (Pace(requests_per_minute=100, tokens_per_minute=10), None, "tokens_per_minute"),
        (Pace(), None, "nothing"),
    ],
)
def test_the_scarcer_quota_binds(tmp_path, pace, minutes, bound_by):
    plan, _ = plan_of(candidates([3] * 10), tmp_path, pace=pace)

    assert plan.bound_by == bound_by
    if bound_by == "tokens_per_minute":
        assert plan.minutes == plan.tokens / 10
    else:
        assert plan.minutes == minutes


def test_the_cost_is_the_tokens_at_the_models_price(tmp_path):
    plan, _ = plan_of(candidates([3] * 10), tmp_path)

    assert plan.cost_usd == pytest.approx(plan.tokens * 0.1 / 1e6)


def test_another_models_tokens_and_cuts_are_estimated_by_its_tokenizers_ratio(tmp_path):
    qwen = TokenCounter().truncate("word and other words " * 4_000, 3_800)[0]
    assert 3_539 < tokens(qwen) <= 4_000, "kept whole by its own count, cut by the model's"
    texts = ["short", qwen, qwen, "一" * 30]
    table = candidates([2, 2], text=texts, query=["who", "who", qwen, qwen])

    plan, _ = plan_of(table, tmp_path, model="gte-rerank-v2")
    same, _ = plan_of(table, tmp_path, model="qwen3-rerank")

    pairs = [("short", "who"), (qwen, "who"), (qwen, qwen), (texts[3], qwen)]
    counted = sum(min(tokens(text), 3_539) for pair in pairs for text in pair)
    assert plan.tokens == round(1.13 * counted) + 4 * len(pairs)
    assert (plan.truncated_documents, plan.truncated_queries) == (2, 1)
    assert plan.tokens_per_qwen_token == 1.13
    assert (same.truncated_documents, same.truncated_queries) == (0, 0)
    assert same.tokens_per_qwen_token == 1


@pytest.mark.parametrize("model", ["qwen3-rerank", "gte-rerank-v2"])
def test_texts_that_a_lower_limit_cuts_count_as_they_are_sent(tmp_path, model):
    """The service reads all that is left of them, since it is below its own limit."""
    table = candidates([2], text=["word and other words " * 400, "short"])

    plan, source = plan_of(table, tmp_path, model=model, max_tokens_per_document=100)

    planner = make_planner(model=model, max_tokens_per_document=100)
    (batch,) = source.iter_batches()
    (group,) = batch.iter_groups(measure_texts(batch.texts))
    (sent,) = planner.plan(group).requests()
    cut, counted = max(map(tokens, sent.documents)), sum(map(tokens, sent.documents))
    counted += 2 * tokens(sent.query)
    if model == "qwen3-rerank":
        assert 100 <= cut <= 164
        assert plan.tokens == counted
    else:
        assert 400 <= cut <= 464
        assert plan.tokens == round(1.13 * counted) + 4 * 2
    assert plan.truncated_documents == 1
