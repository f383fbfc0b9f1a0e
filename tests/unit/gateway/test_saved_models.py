"""The signatures in SavedModels: read once, again when the file is another, and a bounded number of them held."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from contracts.tfserving import load_messages
from gateway.saved_models import MOST_REMEMBERED, SavedModels
from tests.unit.gateway.adder import ADDER

MESSAGES = load_messages()


class CountedReads:
    """Stands where the class SavedModel stands, and counts how often one is read."""

    def __init__(self) -> None:
        self.count = 0

    def FromString(self, data: bytes) -> Any:  # noqa: N802 - protobuf's name
        self.count += 1
        return MESSAGES.SavedModel.FromString(data)


@pytest.fixture
def reads() -> CountedReads:
    return CountedReads()


@pytest.fixture
def saved_models(tmp_path: Path, reads: CountedReads) -> SavedModels:
    return SavedModels(tmp_path, replace(MESSAGES, SavedModel=reads))


def write(repository: Path, version: int, *names: str) -> Path:
    saved = MESSAGES.SavedModel()
    graph = saved.meta_graphs.add()
    for name in names:
        graph.signature_def[name].method_name = "m"
    path = repository / "adder" / str(version) / "saved_model.pb"
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".new")
    beside.write_bytes(saved.SerializeToString())
    beside.rename(path)
    return path


async def names_told(saved_models: SavedModels, version: int) -> set[str]:
    return set((await saved_models.signatures("adder", version, ADDER)).signature_def)


async def test_a_file_is_read_once_and_again_when_it_is_another(
    tmp_path: Path, saved_models: SavedModels, reads: CountedReads
) -> None:
    write(tmp_path, 1, "first")
    assert [await names_told(saved_models, 1) for _ in range(3)] == [{"first"}] * 3
    assert reads.count == 1
    path = write(tmp_path, 1, "other")  # of the same size
    assert await names_told(saved_models, 1) == {"other"}
    assert reads.count == 2
    path.unlink()
    assert await names_told(saved_models, 1) == {"serving_default"}, "what is not there any more is derived"


async def test_what_a_caller_adds_is_its_own(tmp_path: Path, saved_models: SavedModels) -> None:
    write(tmp_path, 1, "only")
    told = await saved_models.signatures("adder", 1, ADDER)
    assert told.signature_def["asked for"].method_name == "", "protobuf makes an entry of what is asked for"
    assert await names_told(saved_models, 1) == {"only"}


async def test_the_one_longest_unasked_is_forgotten(
    tmp_path: Path, saved_models: SavedModels, reads: CountedReads
) -> None:
    for version in range(1, MOST_REMEMBERED + 2):
        write(tmp_path, version, "s")
        await names_told(saved_models, version)
        await names_told(saved_models, 1)
    assert reads.count == MOST_REMEMBERED + 1
    await names_told(saved_models, 2)
    assert reads.count == MOST_REMEMBERED + 2, "2 has made room"
    await names_told(saved_models, 1)
    assert reads.count == MOST_REMEMBERED + 2


async def test_what_is_no_saved_model_is_read_once_too(
    tmp_path: Path, saved_models: SavedModels, reads: CountedReads
) -> None:
    write(tmp_path, 1, "s").write_bytes(b"\xff\xff")
    for _ in range(2):
        assert await names_told(saved_models, 1) == {"serving_default"}
    assert reads.count == 1
