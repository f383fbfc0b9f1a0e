"""What deployment makes of a platform's answers; the swaps themselves are loadtest.swaps' own."""

import dataclasses
import json

import msgspec
import pytest

from loadtest.factors import deployment
from loadtest.factors.rows import Row
from loadtest.factors.workplace import Ended, Interrupted
from loadtest.latencies import Quantiles, Ratio
from loadtest.swap_report import Spread, SwapLine, SwapReport
from tests.unit.loadtest.factors.fake_runner import FakePlatform, workplace_of

URL = "http://127.0.0.1:8000"
SWAPS = [SwapLine("promote", 1, 2, 1.0, "", {}, Quantiles()), SwapLine("promote", 2, 1, 1.5, "", {}, Quantiles())]
REPORT = SwapReport(
    is_good=True,
    is_interrupted=False,
    offered=500,
    answered=500,
    failed={},
    lost=0,
    not_sent=0,
    wrong=0,
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
    swap_seconds={"promote": Spread(1.25, 1.5)},
    phase_seconds={},
    swaps=SWAPS,
)
STATUS = {
    "ready": True,
    "engines": [{"engine": "torchserve", "memory_bytes": 400_000_000}, {"engine": "tfserving", "memory_bytes": None}],
}


def ended(report: SwapReport, fault: str = "") -> Ended:
    return Ended(msgspec.json.encode(report).decode(), fault)


def measured(swaps: Ended | Interrupted) -> list[Row]:
    _, workplace = workplace_of({"loadtest.swaps": swaps, "twinserve": Ended(json.dumps(STATUS))}, url=URL)
    return list(deployment.measure(workplace))


def test_swaps_and_memory_of_a_running_platform() -> None:
    rows = measured(ended(REPORT))
    torch = {row.what: row for row in rows if row.framework == "PyTorch"}
    assert torch["requests without an answer (the other version is unloaded)"].value == 0
    assert torch["wrong or stale answers (the other version stays loaded)"].value == 1
    assert torch["p99 during swaps (the other version is unloaded)"].value == 9.5
    assert torch["longest wait during swaps (the other version stays loaded)"].value == 31.0
    assert torch["memory with one version loaded"].value == 400.0
    (unknown,) = (row for row in rows if row.what == "memory with two versions loaded" and row.framework != "PyTorch")
    assert unknown.value is None
    assert unknown.why_not


def test_the_time_of_a_promote_belongs_to_both_engines() -> None:
    promotes = [row for row in measured(ended(REPORT)) if row.what.startswith("a promote")]
    assert [(row.framework, row.value) for row in promotes] == [("both", 1.25), ("both", 1.25)]
    assert all("both engines" in row.how for row in promotes)


def test_the_model_that_was_named_is_asked_and_its_live_version_takes_part() -> None:
    runner, workplace = workplace_of({"loadtest.swaps": ended(REPORT)}, url=URL)
    list(deployment.measure(workplace))
    swaps = [arguments for module, arguments in runner.asked if module == "loadtest.swaps"]
    # One version is what is left loaded before two are.
    assert [arguments[arguments.index("--keep") + 1] for arguments in swaps] == ["0", "0", "1", "1"]
    for arguments in swaps:
        at = arguments.index("--versions")
        assert arguments[at + 1 : at + 3] == ["1", "2"]
        assert arguments[arguments.index("--model") + 1] == "digits"
        assert arguments[arguments.index("--repository") + 1] == "a repository"
    assert runner.environments[-1]["TWINSERVE_HOME"] == "a home"


def test_the_platform_is_put_back_once_all_is_over() -> None:
    runner, workplace = workplace_of({"loadtest.swaps": ended(REPORT)}, url=URL)
    assert isinstance(workplace.platform, FakePlatform)
    list(deployment.measure(workplace))
    assert workplace.platform.put_back_after == [len(runner.asked)]


def test_the_platform_is_put_back_after_ctrl_c() -> None:
    _, workplace = workplace_of({"loadtest.swaps": Interrupted("")}, url=URL)
    assert isinstance(workplace.platform, FakePlatform)
    with pytest.raises(Interrupted):
        list(deployment.measure(workplace))
    assert len(workplace.platform.put_back_after) == 1


def test_what_is_not_put_back_is_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    runner, workplace = workplace_of({"loadtest.swaps": ended(REPORT)}, url=URL)
    workplace = dataclasses.replace(workplace, platform=FakePlatform(runner, URL, "version 2 is live"))
    rows = list(deployment.measure(workplace))
    assert (rows[-1].framework, rows[-1].why_not) == ("both", "version 2 is live")
    assert "version 2 is live" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"swaps": [SWAPS[0], msgspec.structs.replace(SWAPS[1], fault="409")]}, "1 of 2 promotes failed: 409"),
        ({"swaps": []}, "no promote was made"),
        ({"is_interrupted": True}, "interrupted"),
        ({"ledger_fault": "version 1 is short"}, "version 1 is short"),
    ],
)
def test_a_run_that_went_wrong_gives_no_figures(change: dict[str, object], reason: str) -> None:
    report = msgspec.structs.replace(REPORT, is_good=False, **change)
    rows = [row for row in measured(ended(report, "loadtest.swaps ended with 1")) if "cold" not in row.what]
    told = [row for row in rows if row.why_not and "what is not above" not in row.what]
    assert [row for row in rows if row.value is not None] == []
    assert all(reason in row.why_not for row in told)
    assert {row.framework for row in told} == {"both", "PyTorch", "TensorFlow"}


def test_failed_requests_are_told_and_the_latency_of_the_others_is_not() -> None:
    report = msgspec.structs.replace(REPORT, is_good=False, failed={"503": 1}, lost=1, answered=498, wrong=2)
    rows = {row.what: row for row in measured(ended(report, "loadtest.swaps ended with 1"))}
    assert rows["requests without an answer (the other version is unloaded)"].value == 2
    assert rows["wrong or stale answers (the other version is unloaded)"].value == 3
    assert not any(what.startswith("p99") for what in rows)
    assert (
        "2 requests had no answer" in rows["latency while versions take turns (the other version is unloaded)"].why_not
    )


def test_without_a_platform_each_framework_says_what_it_needs() -> None:
    runner, workplace = workplace_of({})
    rows = list(deployment.measure(workplace))
    assert [module for module, _ in runner.asked] == [
        "workers.torch.factors.cold_start",
        "workers.tf.factors.cold_start",
    ]
    needing = [row for row in rows if "--url" in row.why_not]
    assert {row.framework for row in needing} == {"PyTorch", "TensorFlow", "both"}


def test_a_platform_that_refuses_is_told_by_its_reason() -> None:
    rows = measured(Ended("", "loadtest.swaps ended with 1: no token"))
    reasons = [row.why_not for row in rows if row.what.startswith(("requests while", "a promote"))]
    assert reasons == ["loadtest.swaps ended with 1: no token"] * 6
