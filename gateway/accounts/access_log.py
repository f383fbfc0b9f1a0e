"""The access log: a line of JSON for each request for inference.

Rules: failures are told always, answers by a share of them. Lines are made and written on a thread of their own.
"""

import logging
import random
import time
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from gateway.accounts.ended import Ended, Outcome
from gateway.accounts.late_hand import LateHand
from gateway.accounts.log_file import LogFile
from gateway.accounts.trace_context import Trace, decode_parent

log = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 3.0


class AccessLog:
    """Writes to `path`, `-` for standard output; `share` of the answers are told, 0 to 1. Raises OSError."""

    def __init__(self, path: str, share: float) -> None:
        self._file = LogFile(path)
        self._path = path
        self._share = share
        self._is_failing = False
        self._hand = LateHand("lines of the access log", self._write)

    def start(self) -> None:
        """Begin to write."""
        self._hand.start()

    def takes(self, outcome: Outcome, trace: Trace | None) -> bool:  # noqa: ARG002
        """See gateway.accounts.keeping.Teller."""
        return outcome.error is not None or self._share >= 1.0 or random.random() < self._share  # noqa: S311

    def tell(self, ended: Ended) -> None:
        """A request ended."""
        self._hand.leave(ended)

    def close(self) -> None:
        """Write what is left, for some seconds at most."""
        if self._hand.close(_STOP_TIMEOUT_S):
            self._file.close()

    def _write(self, many: Sequence[Ended]) -> None:
        try:
            self._file.append([orjson.dumps(describe(ended), option=orjson.OPT_APPEND_NEWLINE) for ended in many])
        except OSError as error:
            if not self._is_failing:
                log.error("the access log %s cannot be written, lines are lost: %s", self._path, error)
            self._is_failing = True
        else:
            if self._is_failing:
                log.info("the access log %s is written again", self._path)
            self._is_failing = False


def describe(ended: Ended) -> Mapping[str, Any]:
    """What a line says; what has no value is left out."""
    asker = ended.asker
    where = {"method": asker.method, "path": asker.path} if asker.method else {"rpc": asker.path}
    version = int(ended.version) if ended.version else None
    said = {
        "time": _write_time(ended.ended_ns),
        "request_id": asker.request_id,
        "protocol": ended.protocol,
        **where,
        "model": ended.model,
        "version": version,
        "engine": ended.engine,
        "status": ended.outcome.status,
        "outcome": ended.outcome.label,
        "error": ended.outcome.error,
        "rows": ended.rows,
        "ms": _write_stages(ended),
        "trace_id": _find_trace_id(ended),
    }
    return {name: value for name, value in said.items() if value not in (None, "")}


def _write_stages(ended: Ended) -> dict[str, float]:
    stages_s = {"total": ended.total_s} if ended.stages_s is None else ended.stages_s._asdict()
    return {stage: round(seconds * 1e3, 3) for stage, seconds in stages_s.items()}


def _find_trace_id(ended: Ended) -> str:
    """Ours, or with tracing off the client's."""
    place = ended.trace or decode_parent(ended.asker.traceparent)
    return "" if place is None else f"{place.trace_id:032x}"


def _write_time(unix_ns: int) -> str:
    """RFC 3339, in UTC, to the millisecond."""
    seconds, rest_ns = divmod(unix_ns, 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{rest_ns // 1_000_000:03d}Z"
