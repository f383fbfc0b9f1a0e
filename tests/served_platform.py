"""What end-to-end tests may do with a running platform, whatever it was started by."""

import re
import subprocess
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import requests

_ON_THE_WAY = {"loading", "warming", "unloading"}
LEDGER = ("accepted", "answered", "failed")


class ServedPlatform(ABC):
    """A gateway and its two engines. `repository` is for reading only: a copy of it, where it is out of reach."""

    repository: Path

    @property
    @abstractmethod
    def url(self) -> str:
        """The gateway's, as this process reaches it."""

    @property
    @abstractmethod
    def grpc_address(self) -> str:
        """HOST:PORT of the gateway's gRPC."""

    @property
    @abstractmethod
    def token(self) -> str:
        """The operators' token."""

    @abstractmethod
    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the `twinserve` command on this machine, against this platform."""

    @abstractmethod
    def publish(self, model: str, files: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Publish a version from below the folder `files`, as the platform's operators do; `repository` has it then."""

    @abstractmethod
    def kill(self, engine: str) -> None:
        """kill -9 of the engine's main process, as the kernel does it when memory runs out."""

    @abstractmethod
    def restarts(self, engine: str) -> int:
        """How often the engine was started again."""

    def state(self) -> dict[str, Any]:
        """Engines, models and versions, as operators see them. Each call may reach another gateway process."""
        headers = {"Authorization": f"Bearer {self.token}"}
        document: dict[str, Any] = requests.get(f"{self.url}/admin/models", headers=headers, timeout=10).json()
        return document

    def has_settled(self) -> bool:
        """Whether both engines have the same versions, and nobody but clients asks them: no version is on its way."""
        states = [
            {name: engine["state"] for name, engine in version["engines"].items()}
            for model in self.state()["models"]
            for version in model["versions"]
        ]
        return bool(states) and all(
            len(set(state.values())) == 1 and not _ON_THE_WAY & set(state.values()) for state in states
        )

    def metrics(self) -> str:
        """The gateway's exposition."""
        return requests.get(f"{self.url}/metrics", timeout=10).text

    def metric(self, text: str, name: str) -> float:
        """The sum of all samples of a metric in an exposition."""
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.split("{")[0] == name)

    def up(self, text: str) -> dict[str, float]:
        """The engines that an exposition says are up (1) or not (0)."""
        found = re.findall(r'^twinserve_engine_up{engine="(\w+)",[^}]*} (\S+)$', text, re.MULTILINE)
        return {engine: float(value) for engine, value in found}

    def ledger(self) -> dict[str, float]:
        """Requests accepted, answered and failed, of all versions together."""
        text = self.metrics()
        return {kind: self.metric(text, f"twinserve_ledger_{kind}_total") for kind in LEDGER}
