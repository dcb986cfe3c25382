"""Token counts before sending: sound bounds, exact Qwen counts, cuts, passages, policies.

The bounds are cheap and never too low, so most requests are proved legal without the vocabulary,
which `TokenCounter` loads at the first exact count.
"""

from pipeline.tokens.counter import TokenCounter
from pipeline.tokens.passages import split_passages
from pipeline.tokens.policies import POLICIES, QWEN, XLM_R, CountingPolicy
from pipeline.tokens.settling import Settled

__all__ = [
    "POLICIES",
    "QWEN",
    "XLM_R",
    "CountingPolicy",
    "Settled",
    "TokenCounter",
    "split_passages",
]
