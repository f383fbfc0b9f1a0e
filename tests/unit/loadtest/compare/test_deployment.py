"""What is found out about a gateway, and the load that is sent to it over real HTTP."""

import asyncio
from pathlib import Path

import msgspec
import numpy as np
import pytest

from contracts.golden import Golden, write_golden
from contracts.layout import ModelPaths
from loadtest.compare.client import Subject, Unreachable, drive
from loadtest.compare.deployment import CannotRun, Deployment, Place, look_at, split_address
from loadtest.compare.questions import DRAWN_ROWS
from loadtest.compare.resources import Gpus
from loadtest.compare.slo import judge
from loadtest.compare.subjects import HttpMeter, gateway_subject
from loadtest.compare.trials import Load, find_reason_to_reject
from tests.unit.loadtest.compare.fake_deployment import INPUTS, MODEL, VERSION, FakeDeployment, compute, serving


async def look(deployment: FakeDeployment, folder: Path) -> Deployment:
    place = Place(deployment.url, MODEL, ("torchserve", "tfserving"), folder / "repository", folder / "home")
    return await asyncio.to_thread(look_at, place)


def publish(folder: Path, offset: float = 0.0) -> None:
    paths = ModelPaths(folder / "repository", MODEL).version(VERSION)
    paths.root.mkdir(parents=True)
    write_golden(paths.golden, Golden({"x": INPUTS}, {"y": compute(INPUTS) + np.float32(offset)}))


async def test_implementations_are_named_as_the_gateway_names_them(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving(FakeDeployment()) as fake:
        found = await look(fake, tmp_path)
    assert [label.text for label in found.labels] == ["torchserve", "tfserving (embedded)"]
    assert found.version == VERSION
    assert found.questions.origin == "the version's golden rows"
    assert found.processes == {}


@pytest.mark.parametrize("offset", [None, 1.0])
async def test_inputs_are_drawn_without_golden_rows_or_with_those_of_another_platform(
    tmp_path: Path, offset: float | None
) -> None:
    if offset is not None:
        publish(tmp_path, offset)
    async with serving(FakeDeployment()) as fake:
        found = await look(fake, tmp_path)
    assert found.questions.origin.startswith("drawn inputs")
    assert found.hashes == {}
    np.testing.assert_allclose(found.questions.outputs["y"], compute(found.questions.inputs["x"]))


async def test_engines_that_answer_differently_are_not_compared(tmp_path: Path) -> None:
    async with serving(FakeDeployment(wrong=frozenset({"tfserving"}))) as fake:
        with pytest.raises(CannotRun, match=r"do not answer alike.*tfserving: output 'y' is 1 away"):
            await look(fake, tmp_path)


@pytest.mark.parametrize("is_published", [True, False])
async def test_one_row_that_engines_answer_differently_is_enough(tmp_path: Path, is_published: bool) -> None:
    if is_published:
        publish(tmp_path)
    async with serving(FakeDeployment()) as fake:
        last = (await look(fake, tmp_path)).questions.inputs["x"][-1:]
        fake.wrong, fake.is_hard = frozenset({"tfserving"}), lambda inputs: np.array_equal(inputs, last)
        with pytest.raises(CannotRun, match=r"do not answer alike.*tfserving: output 'y' is 1 away"):
            await look(fake, tmp_path)


@pytest.mark.parametrize("is_published", [True, False])
async def test_the_live_version_is_the_one_that_answers_not_the_newest_resident(
    tmp_path: Path, is_published: bool
) -> None:
    if is_published:
        publish(tmp_path)
    async with serving(FakeDeployment(resident=(VERSION - 1, VERSION, VERSION + 1))) as fake:
        found = await look(fake, tmp_path)
    assert found.version == VERSION
    assert (found.questions.origin == "the version's golden rows") is is_published


async def test_processes_are_those_of_the_platform_at_that_address_only(tmp_path: Path) -> None:
    publish(tmp_path)
    (tmp_path / "home").mkdir()
    async with serving(FakeDeployment()) as fake:
        for url, known in ((fake.url, {"gateway": 1}), ("http://127.0.0.1:1", {})):
            up = {"url": url, "children": [{"name": "gateway", "pid": 1}, {"name": "tfserving", "pid": 2**22 + 1}]}
            (tmp_path / "home" / "up.json").write_bytes(msgspec.json.encode(up))
            assert (await look(fake, tmp_path)).processes == known


@pytest.mark.parametrize("url", ["https://127.0.0.1:8000", "http://:8000", "http://127.0.0.1:port"])
def test_only_plain_http_is_sent_to(url: str) -> None:
    with pytest.raises(CannotRun):
        split_address(url)


async def test_a_trial_has_every_requests_times_and_stages(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving(FakeDeployment({"tfserving": 0.02})) as fake:
        subject = gateway_subject(await look(fake, tmp_path), "tfserving")
        trial = await HttpMeter({"tfserving": subject}, {}, Gpus()).measure(
            "tfserving", Load(0.3, 200.0, 1, connections=32)
        )
    assert len(trial.due_s) == pytest.approx(60, abs=30)
    assert trial.usage.inferences == len(trial.due_s) == len(trial.answered)
    assert trial.answered.min() >= 0.02
    assert trial.faults == ()
    assert set(fake.asked[-len(trial.due_s) :]) == {"tfserving"}
    assert trial.stages_ms()["upstream"].tolist() == [0.5] * len(trial.due_s)
    assert len(trial.after(0.2).timing) == len(trial.after(0.2).due_s) < len(trial.due_s)
    later = trial.after(0.1)
    owed = 200 * float(later.answered.mean())  # Little: so many at a time, however slow the machine is just now
    assert later.outstanding.mean() == pytest.approx(owed, rel=0.7)


async def test_a_closed_loop_never_rests(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving(FakeDeployment({"torchserve": 0.01})) as fake:
        subject = gateway_subject(await look(fake, tmp_path), "torchserve")
        trial = await drive(subject, Load(0.15, connections=4))
    assert 4 <= len(trial.answered) <= 4 * 16
    assert find_reason_to_reject(trial) == ""


async def test_wrong_answers_other_versions_and_errors_reject_a_slot(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving(FakeDeployment()) as fake:
        subject = gateway_subject(await look(fake, tmp_path), "tfserving")
        load = Load(0.1, 200.0, 1, connections=8)
        fake.wrong = frozenset({"tfserving"})
        assert "1 away from it" in find_reason_to_reject(await drive(subject, load))
        fake.wrong, fake.version = frozenset(), 3
        assert "tfserving answered 3" in find_reason_to_reject(await drive(subject, load))
        fake.version, fake.failing = VERSION, frozenset({"tfserving"})
        assert "nothing was answered" in (why := find_reason_to_reject(await drive(subject, load)))
        assert "times status 503" in why


async def test_a_backlog_ends_a_trial_early() -> None:
    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()  # and answer nothing, until the client has had enough
        writer.close()

    server = await asyncio.start_server(listen, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        subject = Subject("x", "127.0.0.1", port, (b"\n",), lambda *_: "", lambda *_: "")
        trial = await drive(subject, Load(30.0, 1000.0, 1, connections=4, drain_s=0.05))
    assert trial.load.duration_s < 10
    assert trial.failures["unanswered"] > 400
    assert "nothing was answered" in find_reason_to_reject(trial)


async def test_a_wait_for_a_connection_is_latency_and_no_lateness_of_ours(tmp_path: Path) -> None:
    publish(tmp_path)
    async with serving(FakeDeployment({"tfserving": 0.02})) as fake:
        subject = gateway_subject(await look(fake, tmp_path), "tfserving")
        trial = await drive(subject, Load(0.3, 200.0, 1, connections=1))
    waited_s = float(np.median(trial.latency_s))
    assert waited_s > 0.1, "one connection answers 50 a second at most"
    assert float(np.median(trial.late_s)) < waited_s / 4
    assert not judge(trial, slo_ms=5 * 1000 * waited_s).is_late


async def test_all_questions_get_their_turn_among_the_answers_that_are_judged() -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readline():
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    judged = set()

    def note(number: int, _: object) -> str:
        judged.add(number % DRAWN_ROWS)
        return ""

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        subject = Subject("x", "127.0.0.1", port, (b"\n",) * DRAWN_ROWS, lambda *_: "", note)
        await drive(subject, Load(0.4, 1000.0, 1, connections=8))
    assert len(judged) == DRAWN_ROWS


async def test_connections_that_break_are_counted_and_replaced() -> None:
    served = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal served
        while await reader.readline():
            served += 1
            if served % 10 == 0:
                break
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        subject = Subject("x", "127.0.0.1", port, (b"\n",), lambda *_: "", lambda *_: "")
        trial = await drive(subject, Load(0.2, 300.0, 1, connections=4))
    assert trial.failures == {"connection lost": served // 10}
    assert len(trial.answered) == len(trial.due_s) - served // 10
    assert served == len(trial.due_s)


async def test_nobody_there_is_said() -> None:
    subject = Subject("x", "127.0.0.1", 1, (b"\n",), lambda *_: "", lambda *_: "")
    with pytest.raises(Unreachable, match=r"x at 127\.0\.0\.1:1"):
        await drive(subject, Load(0.1, 10.0))
