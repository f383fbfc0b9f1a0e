"""What is compared, found out from outside: who answers as which engine, which version is live, whose processes."""

import http.client
import json
import re
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import psutil

from contracts.layout import ModelPaths
from contracts.manifest import BadDocument, Manifest, read_document
from contracts.oip_bodies import HEADER_LENGTH, Array, BadAnswer, decode_answer, encode_request
from loadtest.compare.questions import Ask, CannotAsk, Questions, draw_inputs, draw_questions, read_questions
from loadtest.compare.results import Label

_TIMEOUT_S = 30.0
_UP = re.compile(r'^twinserve_engine_up\{engine="([^"]+)",implementation="([^"]+)"\} 1(?:\.0)?$', re.MULTILINE)


class CannotRun(Exception):
    """There is nothing to compare; the message says why, and what would help."""


class _Child(msgspec.Struct):
    name: str
    pid: int


class _Up(msgspec.Struct):
    url: str
    children: list[_Child]


@dataclass(frozen=True)
class Deployment:
    """A gateway at host:port and what it serves. `processes` is empty where they are not this machine's."""

    url: str
    host: str
    port: int
    model: str
    version: int
    labels: tuple[Label, Label]
    questions: Questions
    processes: Mapping[str, int]
    hashes: Mapping[str, str]


@dataclass(frozen=True)
class Place:
    """Where to look: the gateway's URL, the model, and folders of a platform that may run on this machine."""

    url: str
    model: str
    engines: tuple[str, str]
    repository: Path
    home: Path
    seed: int = 0


def split_address(url: str) -> tuple[str, int, str]:
    """Host, port and path of an http URL. Raises CannotRun."""
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        port = parts.port or 80
    except ValueError as error:
        raise CannotRun(f"{url!r}: {error}") from error
    if parts.scheme != "http" or not parts.hostname:
        raise CannotRun(f"{url!r}: expected http://host:port, since the load is sent over plain HTTP")
    return parts.hostname, port, parts.path.rstrip("/")


def look_at(place: Place) -> Deployment:
    """Raises CannotRun."""
    host, port, _ = split_address(place.url)
    url = f"http://{host}:{port}"
    fetch(f"{url}/v2/health/ready")
    implementations = dict(_UP.findall(fetch(f"{url}/metrics").decode(errors="replace")))
    missing = [engine for engine in place.engines if engine not in implementations]
    if missing:
        raise CannotRun(f"{' and '.join(missing)} of {url} is not up: {', '.join(implementations) or 'no engine'} is")
    questions = _questions(place, url)
    first, second = (Label(engine, implementations[engine]) for engine in place.engines)
    return Deployment(
        url,
        host,
        port,
        place.model,
        questions.version,
        (first, second),
        questions,
        _processes(place.home, url),
        _hashes(place, questions),
    )


def fetch(url: str, body: bytes | None = None, headers: Mapping[str, str] | None = None) -> bytes:
    """The body of a good answer. Raises CannotRun."""
    return _exchange(url, body, headers)[0]


def _exchange(url: str, body: bytes | None, headers: Mapping[str, str] | None) -> tuple[bytes, Mapping[str, str]]:
    request = urllib.request.Request(url, body, dict(headers or {}))  # noqa: S310 - split_address let http alone pass
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=_TIMEOUT_S) as answer:
            return answer.read(), answer.headers
    except urllib.error.HTTPError as error:
        raise CannotRun(f"{url} answered {error.code}: {error.read()[:200].decode(errors='replace')}") from error
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "reason", error)
        raise CannotRun(f"{url} does not answer: {why}; start the platform with `make up`, or give --url") from error


def _questions(place: Place, url: str) -> Questions:
    """Golden rows if the gateway knows them, else drawn ones; both engines have answered all of them alike then."""
    metadata = json.loads(fetch(f"{url}/v2/models/{place.model}"))
    infer_url = f"{url}/v2/models/{place.model}/infer"
    try:
        version = _live_version(place, metadata, infer_url)

        def ask_of(engine: str) -> Ask:
            return lambda body, headers: _ask(infer_url, engine, version, body, headers)

        questions = read_questions(place.repository, place.model, version)
        differences = [_find_difference(questions, ask_of(engine)) if questions else "" for engine in place.engines]
        if questions is None or all(differences):  # then they are of another platform's version with the same number
            questions = draw_questions(metadata["inputs"], version, place.seed, ask_of(place.engines[0]))
            differences = [_find_difference(questions, ask_of(engine)) for engine in place.engines]
    except (CannotAsk, ValueError) as error:
        raise CannotRun(str(error)) from error
    for engine, difference in zip(place.engines, differences, strict=True):
        if difference:
            raise CannotRun(f"the engines do not answer alike, so their speed says nothing: {engine}: {difference}")
    return questions


def _live_version(place: Place, metadata: Mapping[str, Any], infer_url: str) -> int:
    """Of all that are resident, the one that answers who names none. Raises CannotRun, CannotAsk, ValueError."""
    resident = sorted((int(version) for version in metadata.get("versions") or []), reverse=True)
    if not resident:
        raise CannotRun(f"no version of {metadata.get('name')} is live: publish and promote one")
    known = (read_questions(place.repository, place.model, version) for version in resident)
    if golden := next((questions for questions in known if questions), None):
        body, headers = golden.known.cases[0].body, golden.known.cases[0].headers
    else:
        drawn = draw_inputs(metadata["inputs"], place.seed)
        body, headers = encode_request({name: tensor[:1] for name, tensor in drawn.items()})
    said = _exchange(infer_url, body, {**headers, "X-Engine": place.engines[0]})[1].get("X-Model-Version")
    if said is None or not said.isdecimal():
        raise CannotRun(f"{infer_url} does not say which version answers: X-Model-Version is {said}")
    return int(said)


def _find_difference(questions: Questions, ask: Ask) -> str:
    """The first of all rows; empty when there is none."""
    found = (
        questions.find_difference(number, ask(case.body, case.headers))
        for number, case in enumerate(questions.known.cases)
    )
    return next(filter(None, found), "")


def _ask(url: str, engine: str, version: int, body: bytes, headers: Mapping[str, str]) -> Mapping[str, Array]:
    content, said = _exchange(url, body, {**headers, "X-Engine": engine})
    if said.get("X-Engine") != engine or said.get("X-Model-Version") != str(version):
        raise CannotRun(
            f"asked {engine} for version {version}, {said.get('X-Engine')} answered with {said.get('X-Model-Version')}"
        )
    try:
        return decode_answer(content, said.get(HEADER_LENGTH))
    except BadAnswer as error:
        raise CannotRun(f"{engine} gave no inference answer: {error}") from error


def _processes(home: Path, url: str) -> dict[str, int]:
    """By name, of the platform that runs from this folder; none when that is another one."""
    try:
        up = msgspec.json.decode((home / "up.json").read_bytes(), type=_Up)
    except (OSError, msgspec.DecodeError):
        return {}
    is_here = urlsplit(up.url).port == urlsplit(url).port and urlsplit(url).hostname in ("127.0.0.1", "localhost")
    return {child.name: child.pid for child in up.children if psutil.pid_exists(child.pid)} if is_here else {}


def _hashes(place: Place, questions: Questions) -> dict[str, str]:
    """SHA-256 by file of the version, where the repository here is the one that is served."""
    if not questions.origin.startswith("the version"):
        return {}
    paths = ModelPaths(place.repository, place.model).version(questions.version)
    try:
        return dict(read_document(paths.manifest, Manifest).digests)
    except (OSError, BadDocument):
        return {}
