"""What a load run can be told, as options of Locust's command line and web form; each has a variable, too."""

import argparse
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from contracts.addresses import LOOPBACK, Ports
from loadtest.admin import find_token
from loadtest.scenarios.questions import Sources
from loadtest.scenarios.shapes import SCENARIOS, Protocol, Scenario
from loadtest.scenarios.summaries import Limits

DEFAULT_USERS = 10


@dataclass(frozen=True)
class Options:
    """One run as it was asked for. A rate means an open loop; without one, users ask in a closed loop.

    `duration_s` None is until somebody ends it. `generators` is how many processes share the rate.
    """

    scenario: Scenario
    url: str
    grpc_address: str
    model: str
    engine: str | None
    protocols: tuple[Protocol, ...]
    users: int
    rate_per_s: float | None
    duration_s: float | None
    think_s: float
    timeout_s: float
    most_outstanding: int
    seed: int
    generators: int
    sources: Sources
    limits: Limits
    kill: str
    is_confirmed: bool
    token: str | None
    home: Path
    artefacts: Path | None
    has_progress: bool

    @classmethod
    def read(cls, given: argparse.Namespace, host: str | None, environment: Mapping[str, str]) -> "Options":
        """Raises ValueError for a port, a protocol or a number that is none."""
        scenario = SCENARIOS[given.scenario]
        ports = Ports.from_environment(environment)
        url = (host or environment.get("TWINSERVE_URL") or f"http://{LOOPBACK}:{ports.http}").rstrip("/")
        url = url if "://" in url else f"http://{url}"
        data = given.data or environment.get("TWINSERVE_MNIST") or None
        seed = int(given.seed)
        return cls(
            scenario=scenario,
            url=url,
            grpc_address=given.grpc or f"{urlsplit(url).hostname}:{ports.grpc}",
            model=given.model,
            engine=given.engine or None,
            protocols=_protocols(given.protocol) or scenario.protocols,
            users=given.num_users or DEFAULT_USERS,
            rate_per_s=_positive(given.rate),
            duration_s=_positive(given.duration) or _positive(given.run_time) or _own(scenario, bool(given.quick)),
            think_s=float(given.think_ms) / 1000,
            timeout_s=float(given.timeout_s),
            most_outstanding=int(given.most_outstanding),
            seed=seed,
            generators=int(given.generators),
            sources=Sources(Path(data) if data else None, bool(given.data), Path(given.repository), given.model, seed),
            limits=Limits(_number(given.max_p99_ms), _number(given.max_error_rate), _number(given.min_accuracy)),
            kill=given.kill,
            is_confirmed=bool(given.yes),
            token=find_token(environment, Path(given.home)),  # no option: the web form would show it
            home=Path(given.home),
            artefacts=Path(given.artefacts) if given.artefacts else None,
            has_progress=bool(given.progress),
        )

    def phase_at(self, offset_s: float) -> str:
        """The name of the phase at an offset from the start."""
        return self.scenario.phase_at(self._progress(offset_s))

    def share_at(self, offset_s: float) -> float:
        """The share of the full load then."""
        return self.scenario.share_at(self._progress(offset_s))

    def _progress(self, offset_s: float) -> float:
        return offset_s / self.duration_s if self.duration_s else 0.0


def _own(scenario: Scenario, is_quick: bool) -> float | None:
    """A scenario that changes over time, or ends by itself, needs an end; another goes on until it is stopped."""
    if is_quick:
        return scenario.quick_s
    return scenario.duration_s if len(scenario.phases) > 1 or scenario.disturbance != "none" else None


def _protocols(text: str) -> tuple[Protocol, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    strange = [name for name in names if name not in list(Protocol)]
    if strange:
        raise ValueError(f"--protocol {strange[0]} is none of {', '.join(Protocol)}")
    return tuple(Protocol(name) for name in names)


def _positive(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and number > 0 else None


def _number(value: object) -> float | None:
    """The web form gives text, and nothing as an empty one."""
    return None if value is None or value == "" else float(str(value))


def add_arguments(parser: Any) -> None:
    """Add ours to Locust's parser (locust.argument_parser.LocustArgumentParser), for the command line and the form."""
    add = parser.add_argument
    add("--scenario", choices=list(SCENARIOS), default="steady", help=_scenarios(), env_var="TWINSERVE_LOAD_SCENARIO")
    add(
        "--rate",
        type=float,
        default=0.0,
        help="Requests a second at full load, in an open loop: each is sent when "
        "it is due, and latency counts from then. 0: a closed loop of --users.",
        env_var="TWINSERVE_LOAD_RATE",
    )
    add("--duration", type=float, default=0.0, help="Seconds; 0: Locust's --run-time, else the scenario's own.")
    # One text, not a list: Locust's form takes an empty list for one of numbers.
    add("--protocol", default="", help=f"How requests are put, several with commas between: {', '.join(Protocol)}. "
        "Default: the scenario's.")  # fmt: skip
    add("--model", default="mnist", help="The model to ask.", env_var="TWINSERVE_LOAD_MODEL")
    add("--engine", default="", choices=["", "torchserve", "tfserving"], help="Force this engine.")
    add("--think-ms", type=float, default=0.0, help="A user's pause after each answer, in a closed loop.")
    add("--max-p99-ms", default="", help="The run fails when the 99th percentile is longer.")
    add("--max-error-rate", default="0", help="The run fails when more than this share (0..1) goes wrong.")
    add("--min-accuracy", default="", help="The run fails when a smaller share (0..1) of labels is right.")
    add("--seed", type=int, default=0, help="Of the arrivals, and of the rows that are drawn.")
    _add_hidden(add)


def _add_hidden(add: Any) -> None:
    """Those that are no business of the web form: places of this machine, and what only a program sets."""
    home = os.environ.get("TWINSERVE_HOME") or ".twinserve"
    repository = os.environ.get("TWINSERVE_REPOSITORY") or "model_repo"
    add("--grpc", default="", metavar="HOST:PORT", help="The gateway's gRPC; default: --host's, port "
        "TWINSERVE_GRPC_PORT or 8001.", include_in_web_ui=False)  # fmt: skip
    add("--data", default="", help="MNIST's folder, or an npz of inputs and labels; default TWINSERVE_MNIST.",
        include_in_web_ui=False)  # fmt: skip
    add("--repository", default=repository, help="Whose golden rows are asked too.", include_in_web_ui=False)
    add("--home", default=home, help="The run directory of `twinserve up`.", include_in_web_ui=False)
    add("--kill", default="tfserving", choices=["torchserve", "tfserving"], help="The engine that engine-kill kills.",
        include_in_web_ui=False)  # fmt: skip
    add("--yes", action="store_true", help="Really kill it.", include_in_web_ui=False)
    add("--artefacts", default="", help="Write summary.json, summary.txt and latency.hgrm into this folder.",
        include_in_web_ui=False)  # fmt: skip
    add(
        "--quick", action="store_true", help="A few seconds, unless --duration says otherwise.", include_in_web_ui=False
    )
    add("--progress", action="store_true", help="A progress line on stderr.", include_in_web_ui=False)
    add("--timeout-s", type=float, default=30.0, help="Of one request.", include_in_web_ui=False)
    add("--most-outstanding", type=int, default=1000, help="Answers that a process may be owed in an open loop; "
        "requests beyond are counted as not sent.", include_in_web_ui=False)  # fmt: skip
    add("--generators", type=int, default=1, help=argparse.SUPPRESS, include_in_web_ui=False)


def _scenarios() -> str:
    return "; ".join(f"{scenario.name}: {scenario.what}" for scenario in SCENARIOS.values())
