"""Months of partitions: a task for each, so that each is watched and retried by itself.

The tasks share one account, so they lease its quota from one place: `rerank quota serve`, or Redis.
They also share a score store: what partitions have in common is paid once, if the first of them has
paid for it before the next one begins. It needs the connection `rerank_service`, whose password is
the key.

Where a single process is fast enough, `RerankBackfillOperator` is simpler: one task for all
partitions, one quota, one budget.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task

from jobs.airflow import RerankOperator

PARAMS = {
    "first": "2026-01-01",
    "last": "2026-01-31",
    "input_root": "/data/candidates",
    "output_root": "/data/reranked",
    "score_store": "/data/scores",
    "quota": "http://127.0.0.1:8900",
    "provider": "dashscope",
    "url": "",
}


@dag(
    schedule=None,
    start_date=pendulum.datetime(2026, 1, 1),
    params=PARAMS,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["rerank"],
    doc_md=__doc__,
)
def rerank_backfill() -> None:
    """Build the DAG."""

    @task
    def find_partitions(params: dict[str, Any] | None = None) -> list[dict[str, str]]:
        """Return input and output of every partition in the range that has candidates."""
        given = params or PARAMS
        names = sorted(path.name for path in Path(given["input_root"]).glob("dt=*"))
        first, last = f"dt={given['first']}", f"dt={given['last']}"
        return [
            {
                "input_path": f"{given['input_root']}/{name}",
                "output_path": f"{given['output_root']}/{name}",
            }
            for name in names
            if first <= name <= last
        ]

    rerank = RerankOperator.partial(
        task_id="rerank",
        score_store="{{ params.score_store }}",
        provider="{{ params.provider }}",
        url="{{ params.url }}",
        rerank_conn_id="rerank_service",
        quota="{{ params.quota }}",
        max_active_tis_per_dagrun=4,
        map_index_template="{{ task.output_path }}",
    ).expand_kwargs(find_partitions())

    @task
    def add_up(summaries: list[dict[str, Any]]) -> dict[str, float]:
        """Return what the partitions took together."""
        names = ("candidates", "requests", "requests_reused", "cost_usd")
        fetched = list(summaries)  # each pass fetches them from the database
        return {name: sum(one[name] for one in fetched) for name in names}

    add_up(rerank.output)


rerank_backfill()
