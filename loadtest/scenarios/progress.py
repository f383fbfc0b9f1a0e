"""How a run goes, for the person who waits: one line that changes on a terminal, plain lines now and then elsewhere."""

from typing import Protocol, TextIO

import gevent

from loadtest.scenarios.options import Options
from loadtest.scenarios.tallies import Tally

_EVERY_S = 0.5
_PLAIN_EVERY_S = 5.0
_CLEAR = "\r\x1b[K"


class Watched(Protocol):
    """A run, as far as it is told here."""

    options: Options
    tally: Tally

    @property
    def seconds(self) -> float: ...


class Progress:
    """Lines on one stream."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_terminal = stream.isatty()

    def say(self, line: str) -> None:
        """A line that stays."""
        self._write(f"{_CLEAR if self._is_terminal else ''}{line}\n")

    def clear(self) -> None:
        """Take the changing line away."""
        if self._is_terminal:
            self._write(_CLEAR)

    def tell(self, load: Watched) -> None:
        """Until killed."""
        while True:
            gevent.sleep(_EVERY_S if self._is_terminal else _PLAIN_EVERY_S)
            line = describe_progress(load.options, load.tally, load.seconds)
            self._write(_CLEAR + line if self._is_terminal else line + "\n")

    def _write(self, text: str) -> None:
        self._stream.write(text)
        self._stream.flush()


def describe_progress(options: Options, tally: Tally, seconds: float) -> str:
    """One line: how far, how many, how fast, how many wrong."""
    if options.duration_s is None:
        when = f"{seconds:.0f} s"
    else:
        left_s = max(0.0, options.duration_s - seconds)
        when = f"{options.duration_s - left_s:.0f} of {options.duration_s:g} s, {left_s:.0f} s left"
    p50_ms, p99_ms = (tally.latency.quantile(share) * 1000 for share in (0.5, 0.99))
    rate = tally.requests / seconds if seconds > 0 else 0.0
    return (
        f"{options.scenario.name}  {when}  {tally.requests} requests, {rate:.0f}/s  "
        f"p50 {p50_ms:.1f} ms, p99 {p99_ms:.1f} ms  {tally.errors} errors"
    )
