"""Where the command line finds things: the run directory, the repository, the operators' token, the gateway's URL."""

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from contracts.addresses import LOOPBACK, Ports, variable
from contracts.atomic import write_atomic
from twinserve.up_state import read_state

SHIPPED_MODEL = Path(__file__).resolve().parent.parent / "workers" / "weights" / "mnist"


@dataclass(frozen=True)
class Places:
    """Paths of one platform. TWINSERVE_HOME (default .twinserve) and TWINSERVE_REPOSITORY (default model_repo).

    A variable that is empty counts as not set, here as everywhere.
    """

    home: Path
    repository: Path
    token_file: Path

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Places":
        home = Path(environment.get("TWINSERVE_HOME") or ".twinserve").resolve()
        return cls(
            home=home,
            repository=Path(environment.get("TWINSERVE_REPOSITORY") or "model_repo").resolve(),
            token_file=Path(environment.get("TWINSERVE_ADMIN_TOKEN_FILE") or home / "admin-token"),
        )

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def state(self) -> Path:
        return self.home / "up.json"

    @property
    def memory(self) -> Path:
        """How much memory each engine takes, for the gateway."""
        return self.home / "memory.json"

    @property
    def usage(self) -> Path:
        """What else each engine uses, for the gateway."""
        return self.home / "usage.json"

    @property
    def torchserve(self) -> Path:
        return self.home / "torchserve"

    @property
    def tfserving(self) -> Path:
        return self.home / "tfserving"

    def ensure_token(self) -> None:
        """Make the operators' token, readable by its owner only, unless there is one. Raises OSError."""
        if not self.token_file.exists():
            write_atomic(self.token_file, secrets.token_urlsafe(32).encode() + b"\n", mode=0o600)


def read_token(environment: Mapping[str, str]) -> str | None:
    """The operators' token: TWINSERVE_ADMIN_TOKEN, else the file that `twinserve up` wrote, else None."""
    if token := environment.get("TWINSERVE_ADMIN_TOKEN"):
        return token
    try:
        return Places.from_environment(environment).token_file.read_text().strip() or None
    except OSError:
        return None


def default_url(environment: Mapping[str, str]) -> str:
    """The gateway's URL: TWINSERVE_URL, else by TWINSERVE_HTTP_PORT, else what the `up` that runs from here told, else
    the port of the contract. Raises ValueError for a port that is none.
    """
    if url := environment.get("TWINSERVE_URL"):
        return url
    port = Ports.from_environment(environment).http
    is_said = bool(environment.get(variable("http")))
    running = None if is_said else read_state(Places.from_environment(environment).state)
    return running.url if running else f"http://{LOOPBACK}:{port}"


def short(path: Path) -> str:
    """Relative to the working directory where that is shorter to read."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


def environment() -> Mapping[str, str]:
    """This process's environment; a function, so that tests need not change the real one."""
    return os.environ
