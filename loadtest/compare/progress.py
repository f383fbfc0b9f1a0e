"""How far a run is, and how long it will take: a bar on a terminal, a line a step elsewhere."""

import sys
import time
from typing import TextIO

_BAR = 24


class Progress:
    """`planned_s`: how long all of it takes, as planned; what was slower so far is taken to be slower to the end."""

    def __init__(self, planned_s: float, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_terminal = self._stream.isatty()
        self._planned_s = planned_s
        self._begun_s = 0.0
        self._started_at = time.monotonic()
        self._width = 0

    def say(self, what: str, seconds: float) -> None:
        """A step begins that takes so many of the planned seconds."""
        done_s, self._begun_s = self._begun_s, self._begun_s + seconds
        # A search may need more trials than planned: then there is little left, not less than nothing.
        share = min(done_s / self._planned_s, 0.99)
        left_s = self._left_s(done_s, seconds)
        text = f"{100 * share:3.0f} %  {_minutes(left_s)} left  {what}"
        if not self._is_terminal:
            self._write(text + "\n")
            return
        bar = "#" * round(_BAR * share)
        line = f"[{bar:-<{_BAR}}] {text}"
        self._write("\r" + line.ljust(self._width))
        self._width = len(line)

    def _left_s(self, done_s: float, seconds: float) -> float:
        planned_left_s = max(self._planned_s - done_s, seconds)
        slowness = (time.monotonic() - self._started_at) / done_s if done_s else 1.0
        return planned_left_s * max(1.0, slowness)

    def note(self, line: str) -> None:
        """A line of its own."""
        self.end()
        self._write(line + "\n")

    def end(self) -> None:
        """Leave the bar's line."""
        if self._is_terminal and self._width:
            self._write("\n")
            self._width = 0

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
