"""The sums behind served statistics, of one process and of several, and how they and models are told."""

from gateway.core.router import ModelRoute, VersionRoute
from gateway.core.tensors import Signature, TensorSpec
from gateway.core.usage import Stages, Usage, UsageBook, together
from gateway.protocols.model_documents import describe_config, describe_model, describe_statistics, list_statistics
from tests.unit.gateway.adder import ADDER

STAGES = Stages(decode=0.001, queue=0.002, upstream=0.003, encode=0.004, total=0.011)
KEY = ("adder", 2)


def used() -> UsageBook:
    book = UsageBook()
    book.batch_done(*KEY, rows=3)
    book.request_answered(*KEY, STAGES)
    book.request_answered(*KEY, STAGES)
    book.request_failed(*KEY, 0.5)
    return book


def test_events_add_up() -> None:
    usage = used().usages[KEY]
    assert (usage.answered, usage.failed, usage.rows, usage.executions) == (2, 1, 3, 1)
    sums = (usage.decode_ns, usage.queue_ns, usage.upstream_ns, usage.encode_ns, usage.answered_ns, usage.failed_ns)
    assert sums == (2_000_000, 4_000_000, 6_000_000, 8_000_000, 22_000_000, 500_000_000)


def test_processes_add_up() -> None:
    early, late = Usage(answered=1, rows=5, last_answered_ms=10), Usage(answered=2, queue_ns=7, last_answered_ms=90)
    summed = together([{KEY: early, ("adder", 1): late}, {KEY: late}, {}])
    assert summed[KEY] == Usage(answered=3, rows=5, queue_ns=7, last_answered_ms=90)
    assert summed["adder", 1] == late
    assert early == Usage(answered=1, rows=5, last_answered_ms=10), "what is summed stays as it is"


def route(*versions: int, signature: Signature = ADDER) -> ModelRoute:
    return ModelRoute("adder", versions[-1], {}, {v: VersionRoute(v, signature, None, {}) for v in versions})


def test_statistics_are_told_in_tritons_words() -> None:
    told = describe_statistics(*KEY, used().usages[KEY])
    stats = told.pop("inference_stats")
    assert told.pop("last_inference") > 0
    assert told == {"name": "adder", "version": "2", "inference_count": 3, "execution_count": 1}
    assert {name: (part["count"], part["ns"]) for name, part in stats.items()} == {
        "success": (2, 22_000_000),
        "fail": (1, 500_000_000),
        "queue": (2, 4_000_000),
        "compute_input": (2, 2_000_000),
        "compute_infer": (2, 6_000_000),
        "compute_output": (2, 8_000_000),
        "cache_hit": (0, 0),
        "cache_miss": (0, 0),
    }


def test_statistics_list_every_version_that_can_be_asked_for() -> None:
    models = {"adder": route(1, 2), "other": route(7)}
    usages = {KEY: Usage(answered=4), ("gone", 1): Usage(answered=9)}
    listed = [
        (s["name"], s["version"], s["inference_stats"]["success"]["count"]) for s in list_statistics(models, usages)
    ]
    assert listed == [("adder", "1", 0), ("adder", "2", 4), ("other", "7", 0)]
    assert [s["version"] for s in list_statistics(models, usages, version=2)] == ["2"]


def test_a_model_that_counts_no_rows_is_not_batched() -> None:
    fixed = Signature((TensorSpec("x", "INT64", (4, -1)),), (TensorSpec("y", "BOOL", ()),))
    model = route(1, signature=fixed)
    config = describe_config(model, model.versions[1], batch_rows=64)
    assert config["max_batch_size"] == 0
    assert "dynamic_batching" not in config
    assert config["input"] == [{"name": "x", "data_type": "TYPE_INT64", "dims": [4, -1]}]
    assert config["output"] == [{"name": "y", "data_type": "TYPE_BOOL", "dims": []}]
    assert describe_model(model, model.versions[1])["inputs"][0]["shape"] == [4, -1]
