"""LoadGen asks, the gateway answers, and both have a word in the ruling. tests/e2e/test_referee.py asks a real one."""

import asyncio
import json
import threading
from pathlib import Path

import pytest

from loadtest.compare.deployment import Place, look_at
from loadtest.referee import loadgen as loadgen_api
from loadtest.referee.detail_log import BadLog
from loadtest.referee.match import find_capacity, make_subject, run_match
from loadtest.referee.program import run_program
from loadtest.referee.results import LABEL, Ruling
from loadtest.referee.scenarios import Scenario, Wish, choose_terms
from tests.unit.loadtest.compare.fake_deployment import MODEL, FakeDeployment, serving
from tests.unit.loadtest.referee.fake_loadgen import FakeLoadGen, served_in_a_thread
from tests.unit.loadtest.referee.routing_deployment import BOTH, RoutingDeployment, look, publish

pytestmark = pytest.mark.long

WISH = Wish(duration_s=0.1, slo_ms=50.0)


async def rule(
    fake: FakeDeployment, module: FakeLoadGen, folder: Path, scenario: Scenario, engine: str | None = None
) -> Ruling:
    subject = make_subject(await look(fake, folder), engine)
    capacity = await find_capacity(subject, 0.1)
    fake.asked.clear()
    return await run_match(module, choose_terms(scenario, WISH, capacity), subject, folder / "logs")


@pytest.mark.parametrize("scenario", list(Scenario))
async def test_every_sample_is_asked_and_every_answer_right(scenario: Scenario, tmp_path: Path) -> None:
    module = FakeLoadGen()
    async with serving(RoutingDeployment()) as fake:
        ruling = await rule(fake, module, tmp_path, scenario)
    samples = 12 * (8 if scenario is Scenario.MULTI_STREAM else 1)
    assert ruling.is_good
    assert ruling.answers.right == ruling.answers.asked == samples == len(fake.asked)
    assert set(ruling.answers.by_engine) == set(BOTH)
    assert sorted(module.reported) == sorted(module.issued)
    assert ruling.latency_ms.p99 == (9.0 if scenario is Scenario.MULTI_STREAM else 4.0)
    assert ruling.samples_per_s is not None
    assert ruling.samples_per_s > 0


async def test_loadgen_asks_from_a_thread_of_its_own(tmp_path: Path) -> None:
    module = FakeLoadGen()
    async with serving(RoutingDeployment()) as fake:
        await rule(fake, module, tmp_path, Scenario.OFFLINE, "tfserving")
    assert module.threads.isdisjoint({threading.get_ident()})
    assert set(fake.asked) == {"tfserving"}


async def test_a_valid_run_with_wrong_answers_is_not_good(tmp_path: Path) -> None:
    async with serving(RoutingDeployment()) as fake:
        subject = make_subject(await look(fake, tmp_path), "torchserve")
        terms = choose_terms(Scenario.SERVER, WISH, await find_capacity(subject, 0.1))
        fake.wrong = frozenset({"torchserve"})
        ruling = await run_match(FakeLoadGen(), terms, subject, tmp_path / "logs")
        fake.wrong, fake.failing = frozenset(), frozenset({"torchserve"})
        failed = await run_match(FakeLoadGen(), terms, subject, tmp_path / "logs")
        fake.failing, fake.version = frozenset(), 3
        other = await run_match(FakeLoadGen(), terms, subject, tmp_path / "logs")
    assert ruling.is_valid
    assert not ruling.is_good
    assert (ruling.answers.wrong, failed.answers.refused, other.answers.wrong) == (12, 12, 12)
    assert "1 away from it" in ruling.answers.faults[0]
    assert "status 503" in failed.answers.faults[0]


async def test_loadgens_verdict_counts_too(tmp_path: Path) -> None:
    async with serving(RoutingDeployment()) as fake:
        ruling = await rule(fake, FakeLoadGen(verdict="INVALID"), tmp_path, Scenario.SERVER)
        assert ruling.answers.is_good
        assert not ruling.is_good
        assert ruling.invalid_because == "too short"
        subject = make_subject(await asyncio.to_thread(look_at, Place(fake.url, MODEL, BOTH, tmp_path, tmp_path)), None)
        with pytest.raises(BadLog, match="left no"):
            await run_match(FakeLoadGen(is_writing=False), ruling.terms, subject, tmp_path / "empty")


@pytest.mark.long
def test_the_program_says_that_it_is_no_mlperf_result(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(tmp_path)
    out = tmp_path / "out"
    own = [
        "--repository",
        str(tmp_path / "repository"),
        "--home",
        str(tmp_path),
        "--out",
        str(out),
        "--duration-s",
        "1",
    ]
    with served_in_a_thread(RoutingDeployment()) as url:
        assert run_program(["--url", url, "--json", *own], FakeLoadGen()) == 0
        report = json.loads(capsys.readouterr().out)
        assert run_program(["--url", url, "--scenario", "Server", *own], FakeLoadGen(verdict="INVALID")) == 1
        said = capsys.readouterr()
    assert report["label"] == LABEL == "LoadGen-driven, not an MLPerf result"
    assert [ruling["scenario"] for ruling in report["rulings"]] == list(Scenario)
    assert said.out.startswith(LABEL)
    assert LABEL in said.err
    assert "INVALID" in said.out
    assert {path.name for path in out.iterdir()} == {"referee.json", "referee.txt", *Scenario}
    assert (out / "Server" / "mlperf_log_detail.txt").is_file()


def test_what_cannot_run_says_why(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert run_program(["--url", "http://127.0.0.1:1"], FakeLoadGen()) == 2
    assert "start the platform" in capsys.readouterr().err
    assert run_program(["--rate", "0", "--json"], FakeLoadGen()) == 2
    assert "not a positive number" in json.loads(capsys.readouterr().out)["error"]
    monkeypatch.setattr(loadgen_api, "MODULE", "mlperf_loadgen_that_nobody_has")
    assert run_program([]) == 2
    assert "LoadGen is not installed" in capsys.readouterr().err
