"""A bar that shows how far a run is, on a terminal or in a notebook."""

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from pipeline.dataset.summary import RunSummary


class ProgressBar:
    """Show a bar for one run: `rerank(..., progress=ProgressBar())`, or `progress=True`."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("queries"),
            TimeRemainingColumn(),
            TextColumn("${task.fields[cost]:.4f}"),
        )
        self._task = self._progress.add_task("reranking", total=None, cost=0.0)
        self._progress.start()

    def __call__(self, summary: RunSummary) -> None:
        """Show the numbers of a run; end when the run has ended."""
        self._progress.update(
            self._task,
            completed=summary.groups_ranked,
            total=summary.groups,
            cost=summary.cost_usd,
            description="reranking" if summary.state == "running" else summary.state,
        )
        if summary.state != "running":
            self._progress.stop()
