"""Every night: wait for the candidates, check the cost, rerank, judge the result, load it.

It needs the connection `rerank_service`, whose password is the key. Places, limits and the service
are parameters of the DAG; `night` reranks a night again.
"""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum

try:
    from airflow.sdk import dag, task
except ImportError:  # Airflow 2
    from airflow.decorators import dag, task
try:
    from airflow.sdk.exceptions import AirflowFailException
except ImportError:
    from airflow.exceptions import AirflowFailException

from jobs.airflow import RerankCommandOperator, RerankOperator

PARAMS = {
    "input_root": "/data/candidates",
    "output_root": "/data/reranked",
    "score_store": "/data/scores",
    "qrels": "/data/qrels.parquet",
    "load_to": "duckdb:////data/reranked.duckdb",
    "max_cost": 20.0,
    "provider": "dashscope",
    "url": "",
    "night": "",
}

NIGHT = "dt={{ params.night or (data_interval_end | ds) }}"
"""The partition of a run. The end of its interval is the night on which it runs in all versions of
Airflow; `ds` is the day before in Airflow 2."""

INPUT = "{{ params.input_root }}/" + NIGHT
OUTPUT = "{{ params.output_root }}/" + NIGHT
SERVICE = {"provider": "{{ params.provider }}", "url": "{{ params.url }}"}


@dag(
    schedule="0 2 * * *",
    start_date=pendulum.datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    params=PARAMS,
    default_args={"retries": 3, "retry_delay": timedelta(minutes=5)},
    tags=["rerank"],
    doc_md=__doc__,
)
def rerank_nightly() -> None:
    """Build the DAG."""

    @task.sensor(poke_interval=60, timeout=6 * 3_600, mode="reschedule")
    def candidates_are_there(folder: str) -> bool:
        """Wait for the file that the first stage writes last; on S3 take an S3KeySensor."""
        return Path(folder, "_SUCCESS").exists()

    plan = RerankCommandOperator(
        task_id="plan",
        arguments=["plan", INPUT, "--provider", SERVICE["provider"], "--json"],
    )

    @task
    def check_cost(planned: dict[str, Any], params: dict[str, Any] | None = None) -> None:
        """Stop before anything is paid if the night would cost too much."""
        given: dict[str, Any] = params or PARAMS
        cost, most = planned["cost_usd"], float(given["max_cost"])
        if cost > most:
            raise AirflowFailException(f"the night would cost ${cost:,.2f}, over ${most:,.2f}")

    rerank = RerankOperator(
        task_id="rerank",
        input_path=INPUT,
        output_path=OUTPUT,
        score_store="{{ params.score_store }}",
        max_cost="{{ params.max_cost }}",
        rerank_conn_id="rerank_service",
        retry_exponential_backoff=True,
        max_retry_delay=timedelta(hours=1),
        **SERVICE,
    )
    judge = RerankCommandOperator(
        task_id="judge",
        arguments=[
            "evaluate",
            OUTPUT,
            "--qrels",
            "{{ params.qrels }}",
            "--fail-if-worse",
            "--json",
        ],
    )
    load = RerankCommandOperator(
        task_id="load",
        arguments=["load", OUTPUT, "--to", "{{ params.load_to }}", "--json"],
    )

    RerankCommandOperator(
        task_id="report",
        arguments=["report", OUTPUT, "--json"],
        trigger_rule="all_done",  # also of a night that was not loaded
    ).set_upstream(judge)

    candidates_are_there(INPUT) >> plan
    check_cost(plan.output) >> rerank >> judge >> load


rerank_nightly()
