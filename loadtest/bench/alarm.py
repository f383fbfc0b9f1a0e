"""Waiting until a point in time more exactly than event loops do, whose timers count in milliseconds."""

import asyncio
import ctypes
import math
import os
import sys
import time
from types import TracebackType

_MONOTONIC = 1
_NONBLOCK_CLOEXEC = os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0)
_ABSOLUTE = 1
_COARSEST_S = 0.001


class _Time(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class _Setting(ctypes.Structure):
    _fields_ = (("interval", _Time), ("value", _Time))


class Alarm:
    """A context manager around a timer of Linux (timerfd_create(2)); elsewhere it waits as exactly as the loop does."""

    def __enter__(self) -> "Alarm":
        self._fd = -1
        if sys.platform == "linux":
            self._system = ctypes.CDLL(None)
            self._fd = self._system.timerfd_create(_MONOTONIC, _NONBLOCK_CLOEXEC)
        self._rang = asyncio.Event()
        if self._fd >= 0:
            asyncio.get_running_loop().add_reader(self._fd, self._ring)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fd >= 0:
            asyncio.get_running_loop().remove_reader(self._fd)
            os.close(self._fd)

    async def wait_until(self, at: float) -> None:
        """`at`: a point in time of time.perf_counter, which is the monotonic clock on Linux; none waits in the past."""
        left_s = at - time.perf_counter()
        if left_s <= 0:
            return
        if self._fd < 0:
            await asyncio.sleep(max(left_s, _COARSEST_S))
            return
        self._rang.clear()
        fraction, seconds = math.modf(at)
        setting = _Setting(_Time(0, 0), _Time(int(seconds), int(fraction * 1e9)))
        self._system.timerfd_settime(self._fd, _ABSOLUTE, ctypes.byref(setting), None)
        await self._rang.wait()

    def _ring(self) -> None:
        os.read(self._fd, 8)
        self._rang.set()
