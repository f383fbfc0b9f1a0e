"""`twinserve watchdog`: brings back containers of a composed platform that `docker kill` ended.

For Docker that is an operator's stop, which no restart policy undoes. What is watched are the containers of one compose
project that have the label `twinserve.watchdog=true`; `twinserve/revival.py` decides. Docker's stream of events is
followed in pieces, each from where the last one ended, so that nothing is missed while something is done in between or
the connection is lost. Docker also tells of the last few minutes, so neither is what happened just before the start.
"""

import os
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from twinserve.docker_daemon import Daemon, DockerFailed
from twinserve.docker_events import ContainerEvent
from twinserve.revival import Move, Past, after_start, due_at, next_move, told

PROJECT_LABEL = "com.docker.compose.project"
WATCH_LABEL = "twinserve.watchdog"
LONGEST_TURN_S = 30.0
LONGEST_RETRY_S = 30.0

_SOCKET = Path("/var/run/docker.sock")
_EARLY_END_PAUSE_S = 0.5

Say = Callable[[str], None]


class Watchdog:
    """What is known of the project's containers, and the next thing to do about each."""

    def __init__(self, daemon: Daemon, project: str, say: Say, now: Callable[[], float] = time.time) -> None:
        self._daemon = daemon
        # Not those of `docker compose run`, which carry a service's labels too.
        self._labels = {PROJECT_LABEL: project, WATCH_LABEL: "true", "com.docker.compose.oneoff": "False"}
        self._say = say
        self._now = now
        self._pasts: dict[str, Past] = {}
        self._names: dict[str, str] = {}
        self._since_ns = 0

    def begin(self) -> None:
        """Learn what Docker still knows of the last minutes. What is down for a reason older than that stays so.

        Raises DockerFailed.
        """
        self._listen(self._now())
        containers = self._daemon.labelled(self._labels)
        self._say(f"watching {', '.join(sorted(containers.values())) or 'for containers, there are none yet'}")
        for container_id, name in containers.items():
            look = self._daemon.look(container_id)
            is_unexplained = self._pasts.get(container_id, Past()).died_at is None
            if look and look.status == "exited" and is_unexplained:
                self._say(f"{name} is down, for a reason that Docker no longer tells: left alone until it is started")

    def turn(self) -> None:
        """Follow what happens until something is due, for half a minute at most, and do what is due.

        Raises DockerFailed; what was not done is done in a later turn.
        """
        self._listen(min(self._now() + LONGEST_TURN_S, self._next_due()))
        for container_id, past in list(self._pasts.items()):
            due = due_at(past)
            if due is not None and due <= self._now():
                self._act(container_id, past)

    def _listen(self, until: float) -> None:
        """Take events in until then, in seconds since 1970, or until one of them makes something due before that."""
        for event in self._fresh_events(until):
            self._note(event)
            if self._next_due() < until:
                return

    def _fresh_events(self, until: float) -> Iterator[ContainerEvent]:
        for event in self._daemon.events(self._labels, self._since_ns, until):
            self._since_ns = event.at_ns + 1
            yield event

    def _note(self, event: ContainerEvent) -> None:
        if event.action == "destroy":
            self._forget(event.container_id)
            return
        past = self._pasts.get(event.container_id, Past())
        self._pasts[event.container_id] = told(past, event, self._now())
        self._names[event.container_id] = event.name

    def _forget(self, container_id: str) -> None:
        self._pasts.pop(container_id, None)
        self._names.pop(container_id, None)

    def _next_due(self) -> float:
        return min((due for past in self._pasts.values() if (due := due_at(past)) is not None), default=float("inf"))

    def _act(self, container_id: str, past: Past) -> None:
        look = self._daemon.look(container_id)
        if look is None:
            self._forget(container_id)
            return
        match next_move(past, look):
            case Move.START:
                self._pasts[container_id] = self._start(container_id, past)
                return
            case Move.LOOK_AGAIN:
                past = replace(past, died_at=self._now())
            case Move.RESPECT:
                self._say(f"{self._names[container_id]} was stopped: left alone")
                past = replace(past, died_at=None)
            case Move.DISMISS:
                past = replace(past, died_at=None)
        self._pasts[container_id] = past

    def _start(self, container_id: str, past: Past) -> Past:
        name = self._names[container_id]
        try:
            self._daemon.start_again(container_id)
        except DockerFailed as error:
            self._say(f"{name} ended with {past.exit_code} and cannot be started, trying again: {error}")
            return after_start(past, self._now(), has_failed=True)
        self._say(f"{name} ended with {past.exit_code}, and nobody had stopped it: started again")
        return after_start(past, self._now(), has_failed=False)


def run_watchdog(project: str | None, say: Say) -> NoReturn:
    """Watch until the process is ended. Raises DockerFailed when Docker cannot be used at the start, or no project is
    named and this process is in no container of one."""
    try:
        daemon = Daemon.connect()
    except DockerFailed as error:
        raise DockerFailed(f"{error}{_advice(_SOCKET)}") from error
    watchdog = Watchdog(daemon, project or find_own_project(daemon, socket.gethostname()), say)
    watchdog.begin()
    keep_watching(watchdog, say)


def keep_watching(watchdog: Watchdog, say: Say, pause: Callable[[float], object] = time.sleep) -> NoReturn:
    """Take turn after turn; while Docker does not answer, after ever longer waits."""
    failures = 0
    while True:
        started = time.monotonic()
        try:
            watchdog.turn()
        except DockerFailed as error:
            wait_s = min(2.0**failures, LONGEST_RETRY_S)
            say(f"{error}; trying again in {wait_s:g} s")
            pause(wait_s)
            failures += 1
            continue
        if failures:
            say("Docker answers again")
            failures = 0
        if time.monotonic() - started < _EARLY_END_PAUSE_S:
            pause(_EARLY_END_PAUSE_S)  # a daemon that shuts down ends the stream at once, again and again


def find_own_project(daemon: Daemon, host_name: str) -> str:
    """The compose project of the container that has this host name: the start of its id. Raises DockerFailed."""
    look = daemon.look(host_name)
    if look is None or PROJECT_LABEL not in look.labels:
        raise DockerFailed("this runs in no container of a compose project: name the one to watch with --project")
    return look.labels[PROJECT_LABEL]


def _advice(path: Path) -> str:
    """What to set when it is the socket's group that keeps a container out; else nothing."""
    try:
        if not path.is_socket() or os.access(path, os.R_OK | os.W_OK):
            return ""
        return f". {path} belongs to group {path.stat().st_gid}: set DOCKER_GID to that"
    except OSError:
        return ""
