"""Locust's events, and what a run does at each: read its options, begin, tell how it goes, end, write artefacts."""

import os
import sys
from pathlib import Path
from typing import Any

import gevent
from gevent.hub import Hub
from locust import events, stats
from locust.env import Environment
from locust.runners import STATE_RUNNING, STATE_SPAWNING, MasterRunner, WorkerRunner

from contracts.manifest import BadDocument
from loadtest.scenarios.artefacts import write_artefacts, write_failure
from loadtest.scenarios.disturbances import CannotDisturb
from loadtest.scenarios.draining import MasterDrain, WorkerDrain
from loadtest.scenarios.histograms import round_up_ms
from loadtest.scenarios.load import PATIENCE_S, Load
from loadtest.scenarios.options import Options, add_arguments
from loadtest.scenarios.progress import Progress
from loadtest.scenarios.questions import NoQuestions, read_questions
from loadtest.scenarios.summaries import LocustFigures, Plan, Ran, Summary, describe, summarize
from loadtest.scenarios.target import BadTarget, read_inputs
from loadtest.scenarios.users import CLOSED_LOOP_USERS, ArrivalsUser, AskingUser, ScenarioShape, count_generators

CANNOT_RUN = 2
INTERRUPTED = 130
_EARLY_S = 1.0


def register() -> None:
    """Hook into Locust, whose figures then have our resolution: microseconds, not whole milliseconds."""
    # Ctrl-C is a way to end a run, which Locust does then; gevent would print the exception and the time before.
    Hub.NOT_ERROR = (*Hub.NOT_ERROR, KeyboardInterrupt)
    stats.bucket_response_time = round_up_ms  # type: ignore[assignment] # documented as a way to finer buckets
    stats.HISTORY_STATS_INTERVAL_SEC = 1
    events.init_command_line_parser.add_listener(_add_arguments)
    events.init.add_listener(_init)


def _add_arguments(parser: Any, **_: Any) -> None:
    add_arguments(parser)


def _init(environment: Environment, **_: Any) -> None:
    """Everything that can be wrong with the options is told here, before any load."""
    try:
        options = _read(environment)
        questions = read_questions(options.sources, read_inputs(options.url, options.model))
        progress = Progress(sys.stderr)
        load = Load(options, questions, environment, progress.say)
        _check_protocols(load)
    except (NoQuestions, BadDocument, BadTarget, OSError, ValueError) as error:
        sys.stderr.write(f"load test: {error}\n")
        given = environment.parsed_options
        if given is not None and given.artefacts:
            write_failure(Path(given.artefacts), str(error))
        raise SystemExit(CANNOT_RUN) from error
    environment.host = options.url
    environment.stop_timeout = environment.stop_timeout or PATIENCE_S
    listeners = _Listeners(environment, load, progress)
    listeners.add()
    AskingUser.load = load
    runner = environment.runner
    if isinstance(runner, WorkerRunner) and runner.worker_state in (STATE_SPAWNING, STATE_RUNNING):
        listeners.begin()  # the master did not wait until we had read all that
    AskingUser.has_load.set()


def _read(environment: Environment) -> Options:
    if environment.parsed_options is None:
        raise ValueError("there are no options: this is for Locust's command line")
    return Options.read(environment.parsed_options, environment.host, os.environ)


def _check_protocols(load: Load) -> None:
    for protocol in load.options.protocols:
        try:
            load.asker(protocol).prepare()
        except ValueError as error:
            raise ValueError(f"{load.options.model} cannot be asked by --protocol {protocol}: {error}") from error


class _Listeners:
    """What happens at each of Locust's events, in one process."""

    def __init__(self, environment: Environment, load: Load, progress: Progress) -> None:
        self._environment = environment
        self._load = load
        self._progress = progress
        self._telling: gevent.Greenlet | None = None
        self._has_begun = False
        runner = environment.runner
        self._drain = MasterDrain(runner) if isinstance(runner, MasterRunner) else None
        if isinstance(runner, WorkerRunner):
            WorkerDrain(runner, load)

    def add(self) -> None:
        hooks = self._environment.events
        hooks.test_start.add_listener(self.begin)
        hooks.test_stopping.add_listener(self.stop)
        hooks.test_stop.add_listener(self.end)
        hooks.quitting.add_listener(self.quit)
        hooks.report_to_master.add_listener(self.report)
        hooks.worker_report.add_listener(self.take)
        if not isinstance(self._environment.runner, WorkerRunner):
            self._choose_users()
            ScenarioShape.prepare = self.prepare

    def prepare(self) -> None:
        """Before a run: its options decide how many users there are, and of which kind. Raises ValueError."""
        self._count_generators()
        self._load.options = _read(self._environment)
        self._choose_users()

    def report(self, data: dict[str, Any], **_: Any) -> None:
        """A worker's, to the master."""
        self._load.report(data)

    def take(self, data: dict[str, Any], **_: Any) -> None:
        """The master's, of a worker."""
        self._load.take(data)

    def begin(self, **_: Any) -> None:
        """A run begins."""
        try:
            self._load.begin(_read(self._environment))
        except (CannotDisturb, OSError, ValueError) as error:
            self._fail(str(error))
            return
        self._has_begun = True
        if self._load.options.has_progress and not isinstance(self._environment.runner, WorkerRunner):
            self._telling = gevent.spawn(self._progress.tell, self._load)

    def stop(self, **_: Any) -> None:
        """No more requests; users end when they have their answers."""
        self._load.stop.set()
        if self._drain is not None:
            self._drain.run()

    def end(self, **_: Any) -> None:
        """All users have ended."""
        self._load.end()
        if self._telling is not None:
            self._telling.kill()
            self._telling = None
            self._progress.clear()
        if not isinstance(self._environment.runner, WorkerRunner):
            self._write()

    def quit(self, **_: Any) -> None:
        """The process ends: by its exit code whoever waits for it knows how it went."""
        runner = self._environment.runner
        if isinstance(runner, WorkerRunner) or runner is None or self._environment.process_exit_code == CANNOT_RUN:
            return
        if not self._has_begun:
            return
        runner.stop()
        self._load.end()
        summary = self._write()
        if summary.is_interrupted:
            self._environment.process_exit_code = INTERRUPTED
        else:
            self._environment.process_exit_code = 0 if summary.is_good else 1

    def _write(self) -> Summary:
        options = self._load.options
        summary = make_summary(self._load, self._environment)
        if options.artefacts is not None:
            write_artefacts(options.artefacts, summary, describe(summary), self._load.tally)
        return summary

    def _fail(self, message: str) -> None:
        """The web form's user reads it in the log, and may try again; without one the process ends."""
        self._progress.say(message)
        if self._load.options.artefacts is not None:
            write_failure(self._load.options.artefacts, message)
        self._load.stop.set()
        self._environment.process_exit_code = CANNOT_RUN
        runner = self._environment.runner
        if self._environment.web_ui is None and runner is not None:
            gevent.spawn(runner.quit)

    def _count_generators(self) -> None:
        """Each process sends its share of the rate; the option takes the number to the workers."""
        runner = self._environment.runner
        given = self._environment.parsed_options
        if given is not None and runner is not None:
            given.generators = count_generators(runner)

    def _choose_users(self) -> None:
        """An open loop has one kind of user; a closed loop those of its protocols, unless Locust was told which."""
        environment, options = self._environment, self._load.options
        given = environment.parsed_options
        if options.rate_per_s is not None:
            environment.user_classes[:] = [ArrivalsUser]
        elif not (given and getattr(given, "user_classes", None)):
            environment.user_classes[:] = [user for user in CLOSED_LOOP_USERS if user.protocol in options.protocols]


def make_summary(load: Load, environment: Environment) -> Summary:
    """What a run has shown so far."""
    options, total = load.options, environment.stats.total
    is_open = options.rate_per_s is not None
    plan = Plan(
        scenario=options.scenario.name,
        url=options.url,
        model=options.model,
        loop="open" if is_open else "closed",
        protocols=tuple(options.protocols),
        engine=options.engine,
        rate_per_s=options.rate_per_s,
        users=None if is_open else options.users,
        duration_s=options.duration_s,
        seed=options.seed,
        questions=load.questions.source,
    )
    figures = LocustFigures(
        requests=total.num_requests,
        failures=total.num_failures,
        p50_ms=total.get_response_time_percentile(0.5),
        p99_ms=total.get_response_time_percentile(0.99),
        max_ms=total.max_response_time,
    )
    seconds = load.seconds
    is_interrupted = options.duration_s is not None and seconds < options.duration_s - _EARLY_S
    return summarize(
        plan, load.tally, options.limits, Ran(load.clock.wall_s, seconds, is_interrupted, load.incidents, figures)
    )
