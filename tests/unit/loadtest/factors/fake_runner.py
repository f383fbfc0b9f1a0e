"""A runner that starts nothing: what each module would print is written down."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.factors.versions import Platform
from loadtest.factors.workplace import Ended, Interrupted, Workplace
from loadtest.turns import Found


class FakeRunner:
    """Answers by module; one that is unknown has failed. An Interrupted is raised."""

    def __init__(self, answers: Mapping[str, Ended | Interrupted]) -> None:
        self._answers = answers
        self.asked: list[tuple[str, list[str]]] = []
        self.scratches: list[Path] = []
        self.environments: list[Mapping[str, str]] = []

    def run(self, module: str, arguments: Sequence[str], timeout_s: float, environment: Mapping[str, str]) -> Ended:
        assert timeout_s > 0
        self.asked.append((module, list(arguments)))
        self.environments.append(environment)
        if "--scratch" in arguments:
            self.scratches.append(Path(arguments[arguments.index("--scratch") + 1]))
            assert self.scratches[-1].is_dir()
        answer = self._answers.get(module, Ended("", f"{module} ended with 1"))
        if isinstance(answer, Interrupted):
            raise answer
        return answer


class FakePlatform(Platform):
    """Versions 1 and 2 of three: 1 is live. `put_back_after` is how much the runner had been asked by then."""

    def __init__(self, runner: FakeRunner, url: str, fault: str = "") -> None:
        super().__init__(url, "digits", Path("a repository"), Path("a home"))
        # Its parent is frozen, being a value; this one keeps account.
        object.__setattr__(self, "_runner", runner)
        object.__setattr__(self, "_fault", fault)
        object.__setattr__(self, "put_back_after", [])

    put_back_after: list[int]
    _runner: FakeRunner
    _fault: str

    def find(self) -> Found:
        return Found(live=1, other=2, kept=())

    def put_back(self, found: Found) -> str:
        assert found == self.find()
        self.put_back_after.append(len(self._runner.asked))
        return self._fault


def workplace_of(answers: Mapping[str, Ended | Interrupted], url: str | None = None) -> tuple[FakeRunner, Workplace]:
    """A workplace with such a runner, and such a platform where there is a URL."""
    runner = FakeRunner(answers)
    platform = FakePlatform(runner, url) if url else None
    return runner, Workplace(runner, {"PATH": "/bin"}, is_quick=True, platform=platform)
