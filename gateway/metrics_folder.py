"""The folder in which the gateway processes of one host keep their counts, for whichever of them is asked.

prometheus_client writes and adds up the files, one a process and kind. What is ours is what becomes of the ledger of a
process that was killed: the requests that it had under way are failed, nobody answers them any more. Without that they
would be open for as long as the others run.
"""

import contextlib
import json
import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.multiprocess import mark_process_dead

log = logging.getLogger(__name__)

# prometheus_client's names of a counter: the family's, and with the suffix the sample's.
_ACCEPTED = "twinserve_ledger_accepted_total"
_ENDED = ("twinserve_ledger_answered_total", "twinserve_ledger_failed_total")
_FAILED = _ENDED[1]


@contextlib.contextmanager
def metrics_folder() -> Iterator[Path]:
    """A folder that is gone with the parent of those who write to it."""
    folder = Path(tempfile.mkdtemp(prefix="twinserve-metrics-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def close_ledger(folder: Path, pid: int) -> int:
    """Count as failed what the process `pid`, which is no more, had under way; returns how many. Idempotent.

    Its gauges go, its other counts stay. A request that it answered after it last wrote its counts down (they are as
    old as the last probe of an engine) was under way then, and is counted as failed too.
    """
    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]
    path = folder / f"counter_{pid}.db"
    if not path.exists():
        return 0
    try:
        with contextlib.closing(MmapedDict(str(path))) as counts:  # type: ignore[no-untyped-call]
            return _fail_what_is_open(counts)
    except Exception:  # the process's successor is to be started, whatever it left
        log.exception("the ledger that gateway process %d left cannot be closed", pid)
        return 0


def _fail_what_is_open(counts: MmapedDict) -> int:
    under_way: Counter[str] = Counter()
    failed: dict[str, tuple[str, float]] = {}
    for key, value, _ in counts.read_all_values():  # type: ignore[no-untyped-call]
        _, name, labels, _ = json.loads(key)
        version = json.dumps(labels)
        if name == _ACCEPTED:
            under_way[version] += int(value)
        elif name in _ENDED:
            under_way[version] -= int(value)
        if name == _FAILED:
            failed[version] = key, value
    for version, requests in under_way.items():
        if requests > 0 and version in failed:
            key, value = failed[version]
            counts.write_value(key, value + requests, 0.0)  # type: ignore[no-untyped-call]
    return sum(requests for requests in under_way.values() if requests > 0)
