"""The limit on open files, of which every request in flight takes one."""

import logging
import resource
from typing import Final

from msgspec.structs import replace

from pipeline.core.events import log_event
from pipeline.core.settings import Pace

log = logging.getLogger(__name__)

OTHER_FILES: Final = 64
"""Files that a run may have open beside its connections."""


def fit_open_files(pace: Pace) -> Pace:
    """Return the pace, with requests in flight limited to the connections that may be open.

    The process's limit is raised first, as far as the system allows.
    """
    wanted = pace.max_in_flight + OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if _reaches(soft, wanted):
        return pace
    raised = wanted if _reaches(hard, wanted) else hard
    if raised > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
    if raised == wanted:
        return pace
    possible = max(raised - OTHER_FILES, 1)
    log_event(
        log,
        logging.WARNING,
        "pace.few_files",
        open_files=raised,
        max_in_flight=possible,
        wanted=pace.max_in_flight,
        cure=f"raise the limit on open files to {wanted} (ulimit -n)",
    )
    return replace(pace, max_in_flight=possible)


def _reaches(limit: int, wanted: int) -> bool:
    return limit == resource.RLIM_INFINITY or limit >= wanted
