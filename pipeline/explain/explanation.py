"""The explanation of one query's ranking, as values."""

from typing import Literal, TypeAlias

from msgspec import Struct

from pipeline.core.groups import Id

Sureness: TypeAlias = Literal["proved", "linked", "trusted", "open", "none"]
"""How sure a place is.

* `proved`: no other scored candidate can claim it.
* `linked`: by scores of several requests that were put on one scale.
* `trusted`: by scores of several requests as they are, which nobody tested.
* `open`: a request failed, and its documents might belong there.
* `none`: the candidate has no score.
"""

RequestKind: TypeAlias = Literal["reused", "first round", "preliminary", "final"]
"""`reused`: an earlier answer stands for it, as `--reuse partial` allows."""


class GroupFacts(Struct, frozen=True, kw_only=True):
    """The query's row of `_groups`."""

    num_candidates: int
    num_requests: int
    total_tokens: int
    merge_status: str
    certified_depth: int
    num_rejected: int
    num_skipped: int
    num_truncated: int


class AskedRequest(Struct, frozen=True, kw_only=True):
    """One request that the ranking is made of.

    Attributes:
        number: From 1, in the order in which they were planned.
        documents: Documents in it, anchors and witnesses included; in a reused request, those that
            are still candidates.
        tokens: What the service counted; None if it does not say, or the answer is not known.
    """

    number: int
    kind: RequestKind
    documents: int
    tokens: int | None = None


class RequestScore(Struct, frozen=True):
    """The service's own score of a candidate in one request.

    Attributes:
        number: The request.
        score: None if it gave none.
    """

    number: int
    score: float | None


class ExplainedCandidate(Struct, frozen=True, kw_only=True):
    """One candidate of the query.

    Attributes:
        rank: Its new place, from 1; None if `--top-n` cut it off.
        first_stage_rank: Its place before.
        relevance_score: Its score; None without one.
        sure: How sure its place is.
        home_request: The request that it was dealt to; None if that is not known, or none.
        is_anchor: Whether it stood in every request of the first round; None if not known.
        is_witness: Whether it stood in a final request to bound what was left out.
        is_truncated: Whether the service read only the beginning of its text; None if not known.
        scores: The service's scores, by request.
        reason: Why it has no score, as in `_rejects`.
        code: The service's error code.
        message: The service's message.
    """

    doc_id: Id
    rank: int | None
    first_stage_rank: int
    relevance_score: float | None
    sure: Sureness
    home_request: int | None = None
    is_anchor: bool | None = None
    is_witness: bool | None = None
    is_truncated: bool | None = None
    scores: tuple[RequestScore, ...] = ()
    reason: str | None = None
    code: str | None = None
    message: str | None = None


class Comparison(Struct, frozen=True, kw_only=True):
    """Whether the scores of the requests are comparable, as the anchors show; see `merge`.

    Attributes:
        p_lines: p-value of the test for systematic differences.
        p_noise: p-value of the test for noise.
        alike: Whether all requests' scores have one distribution.
        fingerprint: Whether the answers look normalised over their request.
    """

    comparable: bool
    p_lines: float
    p_noise: float
    alike: bool
    fingerprint: bool


class LinkFacts(Struct, frozen=True, kw_only=True):
    """How the requests were put on one scale.

    Attributes:
        model: `affine`, a line per request, or `rank`, counts between anchors.
        error: Error of the link for an anchor that it was not fitted to, as a share of the group;
            None where it cannot be estimated.
        stable: Whether the link predicts well.
    """

    model: str
    error: float | None
    stable: bool


class Explanation(Struct, frozen=True, kw_only=True):
    """Why one query is ranked as it is.

    Attributes:
        output: The output that holds it.
        partition: `KEY=VALUE` in a backfill.
        query: Its text, if that is known.
        part: The number of its part.
        model: The model that was asked.
        candidates: Those that have a place, then those that `--top-n` cut and a reject names.
        cut: Candidates that `--top-n` left out.
        requests: What was asked; empty if that is not known.
        comparison: The test of the requests; None if none was made, or it is not known.
        link: The link of the requests; None if none was needed, or it is not known.
        notes: What is not known, and why.
    """

    output: str
    partition: str | None
    query_id: Id
    query: str | None
    part: int
    model: str
    groups: GroupFacts
    candidates: tuple[ExplainedCandidate, ...]
    cut: int = 0
    requests: tuple[AskedRequest, ...] = ()
    comparison: Comparison | None = None
    link: LinkFacts | None = None
    notes: tuple[str, ...] = ()
