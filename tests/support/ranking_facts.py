"""Rankings as plain values, for comparisons."""

from pipeline.core.records import Ranking


def facts(ranking: Ranking) -> tuple[object, ...]:
    return (
        ranking.order.tolist(),
        ranking.scores.tobytes(),
        ranking.merge_status,
        ranking.certified_depth,
        ranking.num_requests,
        ranking.total_tokens,
        ranking.num_truncated,
        ranking.rejects,
    )
