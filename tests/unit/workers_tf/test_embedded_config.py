"""Model lists: the text format, the checks, the file-system source, and putting a list into effect."""

import threading
from pathlib import Path
from typing import Any

import pytest

from workers.tf.embedded.faults import Code, Fault
from workers.tf.embedded.lookup import Lookup
from workers.tf.embedded.manager import Manager, Retries
from workers.tf.embedded.model_config import ModelConfig, parse_config_file
from workers.tf.embedded.policies import All, Latest, Specific
from workers.tf.embedded.reload import Configuration
from workers.tf.embedded.source import FileSystemSource
from workers.tf.embedded.states import State

WAIT_S = 10.0


class Stub:
    def close(self) -> None:
        pass


def load(model: str, version: int, path: Path) -> Stub:
    if (path / "broken").exists():
        raise Fault(Code.DATA_LOSS, "rotten")
    return Stub()


class Bench:
    """A manager, running, under a base path where versions can be made."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.manager = Manager(load, Retries(0, 0))
        self.source = FileSystemSource(self.manager.aspire, poll_wait_s=0)
        self.configuration = Configuration(self.manager, self.source, Lookup(self.manager))
        self.loop = threading.Thread(target=self.manager.run, daemon=True)

    def model(self, name: str, *versions: int, broken: bool = False, **changes: Any) -> ModelConfig:
        for version in versions:
            (self.root / name / str(version)).mkdir(parents=True, exist_ok=True)
            if broken:
                (self.root / name / str(version) / "broken").touch()
        return ModelConfig(**{"name": name, "base_path": str(self.root / name), **changes})

    def apply(self, *models: ModelConfig) -> None:
        self.configuration.apply(models, is_abandoned=lambda: False)

    def states(self, name: str) -> dict[int, State]:
        return {status.version: status.state for status in self.manager.statuses(name)}


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    bench = Bench(tmp_path)
    bench.loop.start()
    return bench


def write(tmp_path: Path, text: str) -> str:
    file = tmp_path / "models.config"
    file.write_text(text)
    return str(file)


@pytest.mark.parametrize("text", ["", "model_config_list {}", "model_config_list: { }\n"])
def test_an_empty_list_is_fine(tmp_path: Path, text: str) -> None:
    assert parse_config_file(write(tmp_path, text)) == ()


def test_every_policy_is_read(tmp_path: Path) -> None:
    text = """model_config_list: {
      config: { name: "a", base_path: "/a", model_platform: "tensorflow" },
      config: { name: "b", base_path: "/b", model_platform: "x", model_version_policy: { all: {} } },
      config { name: "c" base_path: "/c" model_type: TENSORFLOW model_version_policy { latest { num_versions: 3 } } }
      config { name: "d" base_path: "/d" model_version_policy { latest {} } version_labels { key: "s" value: 4 } }
      config { name: "e" base_path: "/e" model_version_policy { specific { versions: 1 versions: 5 } } }
    }"""
    a, b, c, d, e = parse_config_file(write(tmp_path, text))
    assert a == ModelConfig("a", "/a", "tensorflow", Latest(1))
    assert (b.policy, b.platform) == (All(), "x")
    assert (c.policy, c.platform) == (Latest(3), "tensorflow")
    assert (d.policy, d.platform, d.labels) == (Latest(1), "", {"s": 4})
    assert e.policy == Specific(frozenset({1, 5}))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_config_list {", "Invalid protobuf file: '.*models.config'"),
        ('custom_model_config { type_url: "x" }', "ServerModelConfig type not supported"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(Fault, match=message) as caught:
        parse_config_file(write(tmp_path, text))
    assert caught.value.code is Code.INVALID_ARGUMENT


def test_a_new_model_is_available_when_apply_returns(bench: Bench) -> None:
    bench.apply(bench.model("m", 1, 2))
    assert bench.states("m") == {2: State.AVAILABLE}


def test_a_model_left_out_is_unloaded(bench: Bench) -> None:
    bench.apply(bench.model("m", 1))
    bench.apply()
    assert bench.manager.wait_until(lambda: bench.states("m") == {1: State.END}, WAIT_S)


@pytest.mark.parametrize(("is_first", "noun"), [(True, "servable"), (False, "model")])
def test_a_new_model_that_does_not_load_is_told(bench: Bench, is_first: bool, noun: str) -> None:
    if not is_first:
        bench.apply()
    with pytest.raises(Fault) as caught:
        bench.apply(bench.model("m", 1, broken=True))
    failure = "{{name: m version: 1} due to error: DATA_LOSS: rotten}, "
    assert str(caught.value) == f"UNKNOWN: 1 {noun}(s) did not become available: {{{failure}}}"


def test_a_missing_base_path_waits_until_the_caller_gives_up(bench: Bench) -> None:
    with pytest.raises(Fault, match="abandoned") as caught:
        bench.configuration.apply((bench.model("m"),), is_abandoned=lambda: True)
    assert caught.value.code is Code.CANCELLED


def test_a_missing_base_path_leaves_all_models_as_they_are(bench: Bench) -> None:
    model = bench.model("m", 1)
    bench.apply(model)
    with pytest.raises(Fault, match="abandoned"):
        bench.configuration.apply((model, bench.model("gone")), is_abandoned=lambda: True)
    assert bench.states("m") == {1: State.AVAILABLE}


@pytest.mark.parametrize(
    ("changes", "code", "message"),
    [
        (
            {"base_path": "here"},
            Code.INVALID_ARGUMENT,
            r"Expected model m to have an absolute path or URI; got .*=here",
        ),
        (
            {"platform": "caffe"},
            Code.INVALID_ARGUMENT,
            "Illegal to change a model's platform. For model m platform was",
        ),
        ({"platform": ""}, Code.INVALID_ARGUMENT, "Illegal setting neither"),
        ({"labels": {"new": 9}}, Code.FAILED_PRECONDITION, "Request to assign label to version 9 of model m, which is"),
    ],
)
def test_a_refused_list_changes_nothing(bench: Bench, changes: dict[str, Any], code: Code, message: str) -> None:
    bench.apply(bench.model("m", 1))
    with pytest.raises(Fault, match=message) as caught:
        bench.apply(bench.model("m", 1, **changes))
    assert caught.value.code is code
    assert bench.states("m") == {1: State.AVAILABLE}


def test_duplicates_and_foreign_platforms_are_refused(bench: Bench) -> None:
    with pytest.raises(Fault, match="Illegal to list model m multiple times in config list"):
        bench.apply(bench.model("m", 1), bench.model("m"))
    with pytest.raises(Fault, match="Model m requests unsupported platform caffe"):
        bench.apply(bench.model("m", 1, platform="caffe"))


def test_a_poll_sees_a_new_version(bench: Bench) -> None:
    bench.apply(bench.model("m", 1))
    bench.model("m", 3)
    bench.source.poll()
    wanted = {1: State.END, 3: State.AVAILABLE}
    assert bench.manager.wait_until(lambda: bench.states("m") == wanted, WAIT_S)
