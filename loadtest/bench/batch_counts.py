"""How many rows the gateway sends in a batch, by its own metric `twinserve_batch_rows`."""

import urllib.request
from typing import NamedTuple

from prometheus_client.parser import text_string_to_metric_families

from loadtest.bench.children import LOOPBACK

_METRIC = "twinserve_batch_rows"
_TIMEOUT_S = 30.0


class BatchCounts(NamedTuple):
    """Batches that an engine answered, and the rows in all of them together."""

    batches: int = 0
    rows: int = 0

    def since(self, earlier: "BatchCounts") -> "BatchCounts":
        """What came after an earlier reading."""
        return BatchCounts(self.batches - earlier.batches, self.rows - earlier.rows)


def parse_batch_counts(exposition: str, engine: str) -> BatchCounts:
    """Of one engine, over its versions, from Prometheus's text format. Raises ValueError for what is none."""
    batches = rows = 0.0
    for family in text_string_to_metric_families(exposition):
        if family.name != _METRIC:
            continue
        for sample in family.samples:
            if sample.labels.get("engine") == engine:
                batches += sample.value if sample.name == f"{_METRIC}_count" else 0
                rows += sample.value if sample.name == f"{_METRIC}_sum" else 0
    return BatchCounts(round(batches), round(rows))


def read_batch_counts(port: int, engine: str) -> BatchCounts:
    """From the gateway at a port of loopback. Raises OSError, ValueError."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/metrics", timeout=_TIMEOUT_S) as answer:
        return parse_batch_counts(answer.read().decode(), engine)
