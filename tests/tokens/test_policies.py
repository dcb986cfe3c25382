"""Weights for models with another vocabulary."""

import math

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.models import PROFILES
from pipeline.tokens.policies import POLICIES, QWEN, XLM_R

COUNTS = np.array([0, 1, 10, 1_000], dtype=np.int64)
CODE_POINTS = np.array([0, 1, 9, 4_000], dtype=np.int64)

# Policies


def test_the_policy_of_qwen_models_changes_nothing() -> None:
    assert QWEN.document_weights(COUNTS, CODE_POINTS).tolist() == COUNTS.tolist()
    assert QWEN.query_weight(7, 30) == 7
    assert (QWEN.pair_overhead, QWEN.fill, QWEN.cut_factor) == (0, 1.0, 1)
    assert QWEN.documents_budget(120_000, 100, 7) == 120_000 - 700


def test_another_vocabulary_weighs_more_but_never_more_than_its_characters() -> None:
    weights = XLM_R.document_weights(COUNTS, CODE_POINTS)

    assert weights.dtype == np.int64
    assert weights.tolist() == [0, 2, 11, 1_300]
    assert XLM_R.query_weight(10, 9) == 11


def test_tokens_are_estimated_by_the_mean_ratio_and_the_tokens_of_each_pair() -> None:
    assert QWEN.estimate(1_000, num_pairs=7) == 1_000
    assert QWEN.kept_tokens(4_000) == 4_000
    assert XLM_R.estimate(1_000, num_pairs=7) == 1_130 + 28
    assert XLM_R.kept_tokens(4_000) == 3_539


@given(st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 16_000)), max_size=200))
def test_documents_within_their_budget_fit_the_request(lengths: list[tuple[int, int]]) -> None:
    counts = np.array([count for count, _ in lengths], dtype=np.int64)
    code_points = np.array([characters for _, characters in lengths], dtype=np.int64)
    pair_tokens = XLM_R.query_weight(10, 50) + XLM_R.pair_overhead
    total = int(counts.sum())
    # The smallest limit, up to rounding, whose budget holds the documents.
    max_tokens = math.ceil(XLM_R.ratio * total) + 1 + len(counts) * (pair_tokens + 1)

    budget = XLM_R.documents_budget(max_tokens, len(counts), pair_tokens)

    assert total <= budget <= total + 2
    weights = XLM_R.document_weights(counts, code_points)
    assert len(counts) * pair_tokens + weights.sum() <= max_tokens


def test_every_tokenizer_of_a_model_profile_has_a_policy() -> None:
    assert set(POLICIES) == {"qwen", "xlm-r", "other"}
    assert {profile.tokenizer for profile in PROFILES.values()} <= set(POLICIES)
