"""The numbers of several shards as those of one run."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from msgspec.structs import asdict

from pipeline.dataset.summary import RunSummary

_OWN: Final = ("state", "quota_used", "bound_by", "latency_ms", "recent", "outage_s", "seconds")


def merge_summaries(shards: Sequence[RunSummary], *, seconds: float) -> RunSummary:
    """Return the numbers of all shards together.

    Counts and costs are sums; latencies and outages those of the shard that had the longest; the
    use of the quota is the mean of what each used of its share.

    Args:
        shards: At least one.
        seconds: From the start of the first to the end of the last.
    """
    sums: dict[str, Any] = {}
    for shard in shards:
        for name, value in asdict(shard).items():
            if name not in _OWN:
                sums[name] = value if name not in sums else _sum(sums[name], value)
    used = [shard.quota_used for shard in shards if shard.quota_used is not None]
    causes = Counter(shard.bound_by for shard in shards if shard.bound_by)
    names = sorted({name for shard in shards for name in shard.latency_ms})
    return RunSummary(
        **sums,
        state=next((shard.state for shard in shards if shard.state != "done"), "done"),
        quota_used=sum(used) / len(used) if used else None,
        bound_by=causes.most_common(1)[0][0] if causes else "",
        latency_ms={
            name: max(shard.latency_ms.get(name, 0.0) for shard in shards) for name in names
        },
        outage_s=max(shard.outage_s for shard in shards),
        seconds=seconds,
    )


def _sum(one: Any, other: Any) -> Any:
    if one is None or other is None:
        return None
    if isinstance(one, dict):
        return dict(Counter(one) + Counter(other))
    return one + other
