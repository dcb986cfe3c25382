"""Open the null device on standard descriptors that the caller closed (`2>&-`).

Otherwise the next file or socket gets the number of a standard descriptor: logs would be written
into a Parquet file, or a library would abort the process.
"""

import os


def open_missing_descriptors() -> None:
    """Open the null device on each of descriptors 0, 1 and 2 that is closed; call it first."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free number is given out, and those below are open by now.
            os.open(os.devnull, os.O_RDONLY if number == 0 else os.O_WRONLY)
