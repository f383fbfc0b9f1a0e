"""A runner that starts nothing: what each module would print is written down."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from loadtest.factors.workplace import Ended, Interrupted, Workplace


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


def workplace_of(answers: Mapping[str, Ended | Interrupted], url: str | None = None) -> tuple[FakeRunner, Workplace]:
    """A workplace with such a runner."""
    runner = FakeRunner(answers)
    return runner, Workplace(runner, {"PATH": "/bin"}, is_quick=True, url=url)
