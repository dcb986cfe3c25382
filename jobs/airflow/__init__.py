"""Operators that run the commands as tasks of Airflow 2.10 to 3.3.

    from jobs.airflow import RerankOperator

Nothing else of the project is imported when a DAG is parsed: a task runs the command in a process
of its own.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobs.airflow.operators import (
        RerankBackfillOperator,
        RerankCommandOperator,
        RerankOperator,
    )

__all__ = ["RerankBackfillOperator", "RerankCommandOperator", "RerankOperator"]


def __getattr__(name: str) -> Any:
    """Import an operator, and with it Airflow, when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from jobs.airflow import operators

    return getattr(operators, name)
