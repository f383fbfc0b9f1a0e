"""One match: LoadGen on a thread of its own, the gateway asked on this event loop, and the ruling on what came."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from loadtest.bench.http_answers import Answer, encode_post
from loadtest.compare.client import Subject, drive
from loadtest.compare.deployment import CannotRun, Deployment
from loadtest.compare.subjects import gateway_subject
from loadtest.compare.trials import Load
from loadtest.referee.asking import CONNECTIONS, Address, Asking, judge_all
from loadtest.referee.detail_log import DETAIL, BadLog, read_detail_log
from loadtest.referee.loadgen import report, run_loadgen
from loadtest.referee.results import Ruling, count_answers, make_ruling
from loadtest.referee.scenarios import Capacity, Terms

_WARM_UP_SHARE = 0.3


def make_subject(deployment: Deployment, engine: str | None) -> Subject:
    """Who is asked: one engine, or whichever the gateway's routing chooses."""
    if engine is not None:
        return gateway_subject(deployment, engine)
    of_any = gateway_subject(deployment, "")  # judges answers by what is known of the version, whoever gives them
    host, version = f"{deployment.host}:{deployment.port}", str(deployment.version)
    path = f"/v2/models/{deployment.model}/infer"
    cases = deployment.questions.known.cases
    requests = tuple(encode_post(path, host, dict(case.headers), case.body) for case in cases)

    def look(number: int, answer: Answer) -> str:
        del number
        said = answer.header("X-Model-Version")
        return "" if said == version else f"version {said} answered, {version} was live when the run began"

    return Subject("the gateway", deployment.host, deployment.port, requests, look, of_any.judge)


async def find_capacity(subject: Subject, seconds: float) -> Capacity:
    """What LoadGen must be told beforehand; each half takes `seconds`. Raises CannotRun, Unreachable."""
    alone = (await drive(subject, Load(seconds, connections=1))).after(_WARM_UP_SHARE * seconds)
    many = (await drive(subject, Load(seconds, connections=CONNECTIONS))).after(_WARM_UP_SHARE * seconds)
    if not len(alone.answered) or not len(many.answered):
        raise CannotRun(f"{subject.name} gave no good answer: {dict(alone.failures) or dict(many.failures)}")
    return Capacity(float(alone.answered[0]), len(many.answered) / many.seconds)


async def run_match(loadgen: Any, terms: Terms, subject: Subject, folder: Path, timeout_s: float = 30.0) -> Ruling:
    """LoadGen's logs go into `folder`, which is made. Raises BadLog, OSError, and what LoadGen raises.

    When it is cancelled, LoadGen goes on with nobody to answer it, until the process ends.
    """
    folder.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing else runs yet
    loop = asyncio.get_running_loop()
    address = Address(subject.host, subject.port, subject.requests)
    async with Asking(address, lambda token: report(loadgen, token), timeout_s) as asking:

        def issue(samples: Sequence[tuple[int, int]]) -> None:
            with suppress(RuntimeError):  # the loop is closed: we are about to end, and LoadGen cannot be told
                loop.call_soon_threadsafe(asking.ask, samples)

        started_at = loop.time()
        await _in_thread(lambda: run_loadgen(loadgen, terms, len(subject.requests), issue, folder))
        seconds = loop.time() - started_at

    def judge(number: int, answer: Answer) -> str:
        return subject.look(number, answer) or subject.judge(number, answer)

    answers = count_answers(judge_all(asking.ended, judge))
    try:
        log = read_detail_log((folder / DETAIL).read_text(errors="replace"))
    except FileNotFoundError as error:
        raise BadLog(f"LoadGen left no {DETAIL} in {folder}") from error
    return make_ruling(terms, log, answers, seconds, folder.name)


async def _in_thread(work: Callable[[], None]) -> None:
    """Like asyncio.to_thread, but in a thread that the end of the process does not wait for."""
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[None] = loop.create_future()

    def end(error: BaseException | None) -> None:
        if finished.done():
            return
        if error is None:
            finished.set_result(None)
        else:
            finished.set_exception(error)

    def run() -> None:
        error: BaseException | None = None
        try:
            work()
        except Exception as raised:  # noqa: BLE001 - it is raised again, where it is waited for
            error = raised
        with suppress(RuntimeError):  # the loop is closed: nobody waits
            loop.call_soon_threadsafe(end, error)

    threading.Thread(target=run, name="loadgen", daemon=True).start()
    await finished
