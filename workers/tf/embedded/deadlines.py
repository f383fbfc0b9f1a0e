"""A deadline is a point in time, fixed where a request enters and passed on unchanged."""

import math
import time
from dataclasses import dataclass

from workers.tf.embedded.faults import Code, Fault

TIMED_OUT = "Timed out waiting for notification"
"""TensorFlow's own words for a run that took too long; a request that comes too late to run says the same."""

_LONGEST_MS = 24 * 60 * 60 * 1000


@dataclass(frozen=True)
class Deadline:
    """`at_s` is on the clock of time.monotonic; infinity when there is none."""

    at_s: float

    @classmethod
    def after(cls, timeout_s: float | None) -> "Deadline":
        """The deadline `timeout_s` from now; None and infinity mean none."""
        return cls(math.inf if timeout_s is None else time.monotonic() + timeout_s)

    def remaining_ms(self) -> int | None:
        """Whole milliseconds left, at least 1 because 0 means "no limit" to TensorFlow; None when there is no deadline.

        Raises Fault(DEADLINE_EXCEEDED) when it has passed.
        """
        remaining_s = self.at_s - time.monotonic()
        if remaining_s <= 0:
            raise Fault(Code.DEADLINE_EXCEEDED, TIMED_OUT)
        # gRPC tells "no deadline" as one centuries away, which overflows TensorFlow's microseconds.
        if remaining_s * 1000 > _LONGEST_MS:
            return None
        return max(1, int(remaining_s * 1000))
