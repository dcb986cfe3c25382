"""Lines on a terminal that are drawn again and again in place, as `top` does.

They are drawn on the terminal's alternate screen, so that nothing of them is left, even if the
terminal is resized meanwhile.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
_USUAL_COLUMNS, _USUAL_ROWS = 80, 24
_HOME, _END_OF_LINE, _BELOW = "\x1b[H", "\x1b[K\r\n", "\x1b[J"


@contextmanager
def redrawn(stream: TextIO, *, wanted: bool) -> Iterator[Callable[[Sequence[str]], None]]:
    """Yield a function that draws lines, cut at the terminal's edges, or does nothing."""

    def draw(lines: Sequence[str]) -> None:
        columns = rows = 0
        with suppress(OSError, ValueError):
            columns, rows = os.get_terminal_size(stream.fileno())
        shown = [line[: columns or _USUAL_COLUMNS] for line in lines[: (rows or _USUAL_ROWS) - 1]]
        write(_HOME + "".join(f"{line}{_END_OF_LINE}" for line in shown) + _BELOW)

    def write(text: str) -> None:
        stream.write(text)
        stream.flush()

    if not wanted:
        yield lambda _: None
        return
    write(_ENTER)
    try:
        yield draw
    finally:
        write(_LEAVE)
