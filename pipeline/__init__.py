"""Rerank the candidates of many queries with a rerank service, from Parquet to Parquet.

    summary = rerank("candidates.parquet", "out", provider="emulator")
    frame = rerank_table(frame, provider="emulator", top_n=10)

`__all__` is the public interface; everything else may change. A name is imported when it is first
used, so that importing the package is quick. The library knows nothing of the command line.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pipeline.api.calls import arerank, plan, rerank
    from pipeline.api.options import RunOptions
    from pipeline.api.tables import rerank_table
    from pipeline.core.errors import (
        CostLimitReached,
        GateFailed,
        InputError,
        Interrupted,
        OutageTooLong,
        OutputBusy,
        OutputFailed,
        OutputMismatch,
        RerankError,
        ServiceEnded,
        ServiceRefused,
        SettingsError,
        TooManyRejects,
    )
    from pipeline.core.preparation import Preparation
    from pipeline.core.settings import Pace, RunSettings
    from pipeline.dataset.plan import DatasetPlan
    from pipeline.dataset.rerank import DatasetRun, rerank_dataset
    from pipeline.dataset.session import Session
    from pipeline.dataset.summary import RunSummary

    __version__: str

__all__ = [
    "CostLimitReached",
    "DatasetPlan",
    "DatasetRun",
    "GateFailed",
    "InputError",
    "Interrupted",
    "OutageTooLong",
    "OutputBusy",
    "OutputFailed",
    "OutputMismatch",
    "Pace",
    "Preparation",
    "RerankError",
    "RunOptions",
    "RunSettings",
    "RunSummary",
    "ServiceEnded",
    "ServiceRefused",
    "Session",
    "SettingsError",
    "TooManyRejects",
    "__version__",
    "arerank",
    "plan",
    "rerank",
    "rerank_dataset",
    "rerank_table",
]

_MODULES = {
    "DatasetPlan": "pipeline.dataset.plan",
    "DatasetRun": "pipeline.dataset.rerank",
    "Pace": "pipeline.core.settings",
    "Preparation": "pipeline.core.preparation",
    "RunOptions": "pipeline.api.options",
    "RunSettings": "pipeline.core.settings",
    "RunSummary": "pipeline.dataset.summary",
    "Session": "pipeline.dataset.session",
    "arerank": "pipeline.api.calls",
    "plan": "pipeline.api.calls",
    "rerank": "pipeline.api.calls",
    "rerank_dataset": "pipeline.dataset.rerank",
    "rerank_table": "pipeline.api.tables",
}
"""Where the public names are defined; the errors are in `pipeline.core.errors`."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "__version__":
        value: Any = import_module("importlib.metadata").version("rerank-pipeline")
    else:
        module = import_module(_MODULES.get(name, "pipeline.core.errors"))
        value = getattr(module, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
