"""The requests that wait for a batch of one version on one engine, and which of them go next: no clock, no loop.

Rules: keys take turns, a batch each, so that a stream of one shape does not starve another; within a key it is first
come, first served. Only requests of equal key share a batch. One that fits into a batch is never cut: where it does not
fit into the room left, the batch ends and it opens the next of its key, so that nobody overtakes it. One that does not
fit into any batch gives what fits and goes to the end of its key's line with the rest, so that small ones behind it
wait for one part of it, not for all. One that cannot be parted goes alone, whole, even over the limits. Who is removed
leaves the counts at once.

Must not know what an item is, why it leaves, or how many batches are out (pace.py). The bound of the line is its
owner's, who sees `rows` before he pushes.
"""

import sys
from collections import OrderedDict
from collections.abc import Hashable, Iterator
from itertools import islice
from typing import Generic, TypeAlias, TypeVar

ItemT = TypeVar("ItemT", bound=Hashable)

_MOST_LOOKED_AT = 8  # a client may send thousands of shapes


Share: TypeAlias = tuple[ItemT, int, int]
"""An item in a batch, and which of its rows stand there: from, to (excluded)."""

# What still waits of an item: rows from, to (excluded), their bytes, whether they may be parted. Plain tuples, both of
# them, because one is made for each request.
_Rest: TypeAlias = tuple[int, int, int, bool]


class _Lane(Generic[ItemT]):
    """The items of one key, oldest first."""

    __slots__ = ("is_alone", "key", "rests", "rows", "size_bytes")

    def __init__(self, key: Hashable, is_alone: bool) -> None:
        self.key = key
        self.is_alone = is_alone
        # An OrderedDict, since taking the first of a plain dict walks over all that were taken before.
        self.rests: OrderedDict[ItemT, _Rest] = OrderedDict()
        self.rows = 0
        self.size_bytes = 0


class Line(Generic[ItemT]):
    """What waits. Items are hashable and wait once at a time; each operation is O(1) for each item it concerns."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[Hashable, _Lane[ItemT]] = OrderedDict()  # the one whose turn it is stands first
        self._lane_of: dict[ItemT, _Lane[ItemT]] = {}
        self._rows = 0

    @property
    def rows(self) -> int:
        """Rows that wait."""
        return self._rows

    def __len__(self) -> int:
        """Items of which something waits."""
        return len(self._lane_of)

    def __iter__(self) -> Iterator[ItemT]:
        """Everybody of whom something waits, in the order in which they came."""
        return iter(self._lane_of)

    def push(self, item: ItemT, rows: int, size_bytes: int, key: Hashable | None, can_part: bool = True) -> None:
        """Let `rows` rows of `size_bytes` bytes in all wait. None as key: may share a batch with nobody.

        Raises ValueError when the item waits already.
        """
        if item in self._lane_of:
            raise ValueError(f"expected an item that does not wait yet, got {item!r}")
        lane = self._lanes.get(key)
        if lane is None:
            is_alone = key is None
            key = object() if is_alone else key
            lane = self._lanes[key] = _Lane(key, is_alone)
        lane.rests[item] = (0, rows, size_bytes, can_part)
        lane.rows += rows
        lane.size_bytes += size_bytes
        self._lane_of[item] = lane
        self._rows += rows

    def remove(self, item: ItemT) -> int:
        """Forget what waits of an item that was cancelled or ran out of time; the rows it had waiting, 0 for none.

        Rows of it that were taken before are the taker's affair.
        """
        lane = self._lane_of.pop(item, None)
        if lane is None:
            return 0
        start, stop, size_bytes, _ = lane.rests.pop(item)
        rows = stop - start
        lane.rows -= rows
        lane.size_bytes -= size_bytes
        self._rows -= rows
        if not lane.rests:
            del self._lanes[lane.key]
        return rows

    def full(self, rows_limit: int, bytes_limit: int = sys.maxsize) -> bool:
        """Whether there is a batch that waiting longer could not make larger, of one of the keys whose turn is next."""
        return self._find_full(rows_limit, bytes_limit) is not None

    def _find_full(self, rows_limit: int, bytes_limit: int) -> _Lane[ItemT] | None:
        for lane in islice(self._lanes.values(), _MOST_LOOKED_AT):
            if lane.is_alone or lane.rows >= rows_limit or lane.size_bytes >= bytes_limit:
                return lane
        return None

    def take(self, rows_limit: int, bytes_limit: int = sys.maxsize, full_first: bool = False) -> list[Share[ItemT]]:
        """The next batch, of the key whose turn it is; it leaves the line. Empty when nobody waits.

        Of at most `rows_limit` rows (one at least) and `bytes_limit` bytes, but for one row, or one item that cannot
        be parted, of more bytes or rows than that. `full_first`: of the key that `full` has found, where it has.
        """
        if not self._lanes:
            return []
        found = self._find_full(rows_limit, bytes_limit) if full_first else None
        key = next(iter(self._lanes)) if found is None else found.key
        lane = self._lanes.pop(key)
        rows_before = lane.rows
        batch = self._take_from(lane, max(1, rows_limit), bytes_limit)
        self._rows -= rows_before - lane.rows
        if lane.rests:
            self._lanes[key] = lane  # last: the turn of all others comes first
        return batch

    def _take_from(self, lane: _Lane[ItemT], rows_limit: int, bytes_limit: int) -> list[Share[ItemT]]:
        batch: list[Share[ItemT]] = []
        room_rows, room_bytes = rows_limit, bytes_limit
        while lane.rests and room_rows > 0:
            item, rest = lane.rests.popitem(last=False)
            start, stop, size_bytes, can_part = rest
            rows = stop - start
            if rows > room_rows or size_bytes > room_bytes:
                most = goes = _count_fitting(rest, rows_limit, bytes_limit, least=1)
                if batch:  # only what no batch holds is cut to fill the room left
                    goes = _count_fitting(rest, room_rows, room_bytes, least=0) if most < rows else 0
                if goes < rows:
                    left_bytes = size_bytes - size_bytes * goes // rows
                    lane.rests[item] = (start + goes, stop, left_bytes, can_part)
                    if goes * 2 < most:  # among many small ones it would go by crumbs: it opens the next batch
                        lane.rests.move_to_end(item, last=False)
                    if goes:
                        batch.append((item, start, start + goes))
                    room_rows -= goes
                    room_bytes -= size_bytes - left_bytes
                    break
            batch.append((item, start, stop))
            del self._lane_of[item]
            room_rows -= rows
            room_bytes -= size_bytes
        lane.rows -= rows_limit - room_rows
        lane.size_bytes -= bytes_limit - room_bytes
        return batch


def _count_fitting(rest: _Rest, rows_limit: int, bytes_limit: int, least: int) -> int:
    """How many rows of it are within the limits, `least` at least; all when they cannot be parted."""
    start, stop, size_bytes, can_part = rest
    if not can_part:
        return stop - start
    return max(least, min(stop - start, rows_limit, bytes_limit * (stop - start) // max(size_bytes, 1)))
