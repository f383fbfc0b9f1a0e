"""What deployment makes of a platform's answers; the swaps themselves are loadtest.swaps' own."""

import json

import msgspec

from loadtest.factors import deployment
from loadtest.factors.workplace import Ended
from loadtest.latencies import Quantiles, Ratio
from loadtest.swap_report import Spread, SwapReport
from tests.unit.loadtest.factors.fake_runner import workplace_of

REPORT = SwapReport(
    is_good=False,
    is_interrupted=False,
    offered=500,
    answered=498,
    failed={"503": 1},
    lost=1,
    not_sent=0,
    wrong=2,
    stale=1,
    faults=[],
    by_version={},
    by_engine={},
    ledger={},
    ledger_fault="",
    lag=Quantiles(),
    inside=Quantiles(200, 2.0, 9.5, 31.0),
    outside=Quantiles(300, 1.5, 4.5, 12.0),
    ratio_p50=Ratio(),
    ratio_p99=Ratio(),
    swap_seconds={"promote": Spread(1.25, 2.0)},
    phase_seconds={},
    swaps=[],
)
STATUS = {
    "ready": True,
    "engines": [{"engine": "torchserve", "memory_bytes": 400_000_000}, {"engine": "tfserving", "memory_bytes": None}],
}


def test_swaps_and_memory_of_a_running_platform() -> None:
    answers = {
        "loadtest.swaps": Ended(msgspec.json.encode(REPORT).decode(), "loadtest.swaps ended with 1"),
        "twinserve": Ended(json.dumps(STATUS)),
    }
    runner, workplace = workplace_of(answers, url="http://127.0.0.1:8000")
    rows = list(deployment.measure(workplace))
    torch = {row.what: row for row in rows if row.framework == "PyTorch"}
    assert torch["requests without an answer (the other version is unloaded)"].value == 2
    assert torch["wrong or stale answers (the other version stays loaded)"].value == 3
    assert torch["a promote, median (the other version is unloaded)"].value == 1.25
    assert torch["p99 during swaps (the other version is unloaded)"].value == 9.5
    assert torch["longest wait during swaps (the other version stays loaded)"].value == 31.0
    assert torch["memory with one version loaded"].value == 400.0
    (unknown,) = (row for row in rows if row.what == "memory with two versions loaded" and row.framework != "PyTorch")
    assert unknown.value is None
    assert unknown.why_not
    # One version is what is left loaded before two are, and an even number of promotes puts back what was live.
    swaps = [arguments for module, arguments in runner.asked if module == "loadtest.swaps"]
    assert [arguments[arguments.index("--keep") + 1] for arguments in swaps] == ["0", "0", "1", "1"]
    assert all(int(arguments[arguments.index("--promotes") + 1]) % 2 == 0 for arguments in swaps)


def test_without_a_platform_each_framework_says_what_it_needs() -> None:
    runner, workplace = workplace_of({})
    rows = list(deployment.measure(workplace))
    assert [module for module, _ in runner.asked] == [
        "workers.torch.factors.cold_start",
        "workers.tf.factors.cold_start",
    ]
    needing = [row for row in rows if "--url" in row.why_not]
    assert {row.framework for row in needing} == {"PyTorch", "TensorFlow"}


def test_a_platform_that_refuses_is_told_by_its_reason() -> None:
    answers = {"loadtest.swaps": Ended("", "loadtest.swaps ended with 1: no token")}
    _, workplace = workplace_of(answers, url="http://127.0.0.1:8000")
    reasons = [row.why_not for row in deployment.measure(workplace) if row.what.startswith("swap under load")]
    assert reasons == ["loadtest.swaps ended with 1: no token"] * 4
