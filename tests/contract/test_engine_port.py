"""One suite over every engine: what the core may rely on, whoever stands behind the port."""

import asyncio
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest

from contracts.golden import read_golden
from contracts.layout import TORCHSERVE_STORE, ModelPaths
from gateway.core.errors import DeadlineExceeded, EngineRejected, EngineUnreachable
from gateway.core.messages import EngineBatch
from gateway.core.ports import Engine, Observed, VersionState
from gateway.core.tensors import Tensor
from gateway.engines.fake import FakeEngine
from gateway.engines.tfserving import TfServing, TfServingAddress
from gateway.engines.torchserve import TorchServe, TorchServeAddress
from tests.platform_process import Platform, free_ports, wait_until_async
from twinserve.child import ChildPlan
from twinserve.child_life import Limits
from twinserve.lifeline import Lifeline
from twinserve.log_file import LogFile
from twinserve.places import SHIPPED_MODEL
from twinserve.reference import load_weights, logits
from twinserve.supervisor import Supervisor

pytestmark = pytest.mark.engines


def reference(version: int, images: Tensor) -> Tensor:
    return logits(load_weights(SHIPPED_MODEL / f"{version}.safetensors"), images)


def answer_like_mnist(batch: EngineBatch) -> Mapping[str, Tensor]:
    images = batch.inputs["images"]
    if images.shape[1:] != (28, 28) or images.dtype != np.float32:
        raise EngineRejected(f"expected FP32 [-1, 28, 28], got {images.dtype} {images.shape}")
    return {"logits": reference(batch.version, images)}


@pytest.fixture(params=["fake", "torchserve", "tfserving"])
async def engine(request: pytest.FixtureRequest, platform: Platform) -> AsyncIterator[Engine]:
    """A connection of the test's own to each engine, holding versions 1 and 2 of mnist."""
    made: Engine
    if request.param == "fake":
        made = FakeEngine("fake", answer_like_mnist)
        await made.serve({"mnist": frozenset({1, 2})})
    elif request.param == "torchserve":
        made = torchserve(platform)
    else:
        address = f"127.0.0.1:{platform.ports.tfserving_grpc}"
        made = TfServing(TfServingAddress(address, "embedded", platform.repository))
    yield made
    await made.close()


def torchserve(platform: Platform) -> TorchServe:
    return TorchServe(
        TorchServeAddress(
            inference_url=f"http://127.0.0.1:{platform.ports.torchserve_inference}",
            management_url=f"http://127.0.0.1:{platform.ports.torchserve_management}",
            key_file=platform.home / "torchserve" / "key_file.json",
            repository=platform.repository,
        )
    )


@pytest.fixture(scope="module")
def golden(repository: Path) -> Mapping[str, Tensor]:
    golden = read_golden(ModelPaths(repository, "mnist").version(2).golden)
    return {**golden.inputs, **golden.outputs}


def batch(images: Tensor, version: int = 2, timeout_s: float = 30.0) -> EngineBatch:
    return EngineBatch("mnist", version, {"images": images}, asyncio.get_running_loop().time() + timeout_s)


@pytest.mark.parametrize("rows", [1, 2, 64])
async def test_answers_the_golden_inputs(engine: Engine, golden: Mapping[str, Tensor], rows: int) -> None:
    outputs = await engine.infer(batch(golden["images"][:rows]))
    assert set(outputs) == {"logits"}
    assert outputs["logits"].dtype == np.float32
    assert outputs["logits"].shape == (rows, 10)
    np.testing.assert_allclose(outputs["logits"], golden["logits"][:rows], atol=1e-4)


async def test_versions_are_told_apart(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    images = golden["images"][:8]
    for version in (1, 2):
        outputs = await engine.infer(batch(images, version))
        np.testing.assert_allclose(outputs["logits"], reference(version, images), atol=1e-4)


async def test_a_non_contiguous_input_is_read_in_row_major_order(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    images = np.asfortranarray(golden["images"][:4])
    outputs = await engine.infer(batch(images))
    np.testing.assert_allclose(outputs["logits"], golden["logits"][:4], atol=1e-4)


@pytest.mark.parametrize(
    "images",
    [np.zeros((1, 784), np.float32), np.zeros((1, 28, 27), np.float32), np.zeros((1, 28, 28), np.int32)],
    ids=["rank", "size", "dtype"],
)
async def test_refuses_what_is_not_the_signatures_and_goes_on(
    engine: Engine, golden: Mapping[str, Tensor], images: Tensor
) -> None:
    with pytest.raises(EngineRejected):
        await engine.infer(batch(images))
    assert (await engine.infer(batch(golden["images"][:1])))["logits"].shape == (1, 10)


async def test_observes_what_it_holds(engine: Engine) -> None:
    observed = await engine.observe(frozenset({"mnist"}))
    assert {key: seen.state for key, seen in observed.items()} == {
        ("mnist", 1): VersionState.READY,
        ("mnist", 2): VersionState.READY,
    }
    assert await engine.observe(frozenset({"nobody"})) == {}
    assert await engine.observe(frozenset()) == {}


async def test_serving_what_it_serves_changes_nothing(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    asking = asyncio.gather(*(engine.infer(batch(golden["images"][:2])) for _ in range(20)))
    for _ in range(2):
        await engine.serve({"mnist": frozenset({1, 2})})
    assert len(await asking) == 20
    assert set(await engine.observe(frozenset({"mnist"}))) == {("mnist", 1), ("mnist", 2)}


async def test_a_model_of_which_nothing_is_wanted_is_no_trouble(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    """It may be for the other engine alone."""
    await engine.serve({"mnist": frozenset({1, 2}), "stranger": frozenset()})
    assert set(await engine.observe(frozenset({"mnist", "stranger"}))) == {("mnist", 1), ("mnist", 2)}
    assert (await engine.infer(batch(golden["images"][:1])))["logits"].shape == (1, 10)


async def test_a_deadline_that_has_passed(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    if isinstance(engine, FakeEngine):
        pytest.skip("the fake answers at once, whatever the deadline; the batcher keeps it")
    with pytest.raises(DeadlineExceeded):
        await engine.infer(batch(golden["images"][:1], timeout_s=-1))
    with pytest.raises(DeadlineExceeded):
        await engine.infer(batch(np.repeat(golden["images"], 64, axis=0), timeout_s=0.01))


async def test_closing_it_answers_or_refuses_what_it_was_asked(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    """Never as if whoever waits had been cancelled: a rollout that compares would end with its gateway still there."""
    images = np.repeat(golden["images"], 8, axis=0)
    asking = [asyncio.create_task(engine.infer(batch(images))) for _ in range(8)]
    await asyncio.sleep(0)
    await engine.close()
    asking.append(asyncio.create_task(engine.infer(batch(images))))
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert {type(one) for one in ended} <= {dict, EngineUnreachable}, ended


async def test_who_gives_up_is_cancelled(engine: Engine, golden: Mapping[str, Tensor]) -> None:
    if isinstance(engine, FakeEngine):
        pytest.skip("the fake answers at once")
    asking = asyncio.create_task(engine.infer(batch(golden["images"])))
    await asyncio.sleep(0)
    asking.cancel()
    await asyncio.wait([asking], timeout=10)
    assert asking.cancelled()


async def test_an_engine_that_is_not_there(tmp_path: Path, golden: Mapping[str, Tensor]) -> None:
    ports = free_ports()
    keys = tmp_path / "key_file.json"
    keys.write_text('{"inference": {"key": "a"}, "management": {"key": "b"}}')
    gone: tuple[Engine, ...] = (
        TfServing(TfServingAddress(f"127.0.0.1:{ports.tfserving_grpc}", "embedded", tmp_path)),
        TorchServe(
            TorchServeAddress(
                f"http://127.0.0.1:{ports.torchserve_inference}",
                f"http://127.0.0.1:{ports.torchserve_management}",
                keys,
                tmp_path,
            )
        ),
    )
    for engine in gone:
        with pytest.raises(EngineUnreachable):
            await engine.infer(batch(golden["images"][:1]))
        with pytest.raises(EngineUnreachable):
            await engine.observe(frozenset({"mnist"}))
        with pytest.raises(EngineUnreachable):
            await engine.serve({"mnist": frozenset({1})})
        await engine.close()


async def test_torchserve_with_tokens_it_does_not_know(
    platform: Platform, tmp_path: Path, golden: Mapping[str, Tensor]
) -> None:
    """As after a restart of TorchServe: the tokens we hold are refused until the key file has the new ones."""
    real = (platform.home / "torchserve" / "key_file.json").read_bytes()
    keys = tmp_path / "key_file.json"
    keys.write_text('{"inference": {"key": "old"}, "management": {"key": "old"}}')
    address = torchserve(platform)._address
    stale = TorchServe(TorchServeAddress(address.inference_url, address.management_url, keys, address.repository))
    with pytest.raises(EngineUnreachable):
        await stale.infer(batch(golden["images"][:1]))
    keys.write_bytes(real)
    assert (await stale.infer(batch(golden["images"][:1])))["logits"].shape == (1, 10)
    await stale.close()


async def test_torchserve_refuses_a_version_and_keeps_the_others(
    platform: Platform, golden: Mapping[str, Tensor]
) -> None:
    """There is no archive of version 77: the link to it dangles."""
    engine = torchserve(platform)
    await engine.serve({"mnist": frozenset({1, 2, 77})})
    observed = await engine.observe(frozenset({"mnist"}))
    assert observed["mnist", 77].state is VersionState.ERROR
    assert "Model not found at: mnist-77.mar" in observed["mnist", 77].reason
    assert (await engine.infer(batch(golden["images"][:1])))["logits"].shape == (1, 10)
    await engine.serve({"mnist": frozenset({1, 2})})
    assert set(await engine.observe(frozenset({"mnist"}))) == {("mnist", 1), ("mnist", 2)}
    await engine.close()


@pytest.fixture(scope="module")
def own_torchserve(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorchServeAddress]:
    """A TorchServe that no gateway knows: the shared platform's would put things back."""
    folder = tmp_path_factory.mktemp("own")
    ports = free_ports()
    store = folder / "repository" / TORCHSERVE_STORE
    store.mkdir(parents=True)
    (folder / "repository" / "mnist").symlink_to(platform.repository / "mnist")
    arguments = ("--run-dir", str(folder / "ts"), "--model-store", str(store))
    command = (sys.executable, "-m", "workers.torch.launcher", *arguments)
    log = LogFile(folder / "log")
    plan = ChildPlan("torchserve", command, log, lambda: True, lambda: True, ports.to_environment())
    with Lifeline() as lifeline, Supervisor(threading.Event(), lifeline, print, Limits()) as supervisor:
        supervisor.start(plan)
        yield TorchServeAddress(
            f"http://127.0.0.1:{ports.torchserve_inference}",
            f"http://127.0.0.1:{ports.torchserve_management}",
            folder / "ts" / "key_file.json",
            folder / "repository",
        )


async def test_torchserve_unloads_and_loads_again(own_torchserve: TorchServeAddress) -> None:
    engine = TorchServe(own_torchserve)
    images = np.zeros((1, 28, 28), np.float32)
    for versions in ({1}, {1, 2}, {2}, {1}):
        await until_held(engine, versions)
        for version in versions:
            outputs = await engine.infer(batch(images, version))
            np.testing.assert_allclose(outputs["logits"], reference(version, images), atol=1e-4)
    with pytest.raises(EngineUnreachable):
        await engine.infer(batch(images, 2))
    await engine.close()


async def test_a_version_that_torchserve_keeps_without_a_worker_is_loaded_anew(
    own_torchserve: TorchServeAddress, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As an unloading that failed leaves it, for whichever gateway process comes next."""
    engine = TorchServe(own_torchserve)
    await until_held(engine, {1, 2})
    assert (await engine._manage("PUT", "/models/mnist/2?min_worker=0&max_worker=0&synchronous=true"))[0] == 200
    await engine.close()
    monkeypatch.setattr("gateway.engines.torchserve_loads.STRANDED_S", 1.0)
    engine = TorchServe(own_torchserve)
    seen = await engine.observe(frozenset({"mnist"}))
    assert [seen["mnist", version].state for version in (1, 2)] == [VersionState.READY, VersionState.LOADING]
    await until_held(engine, {1, 2})
    images = np.zeros((1, 28, 28), np.float32)
    np.testing.assert_allclose((await engine.infer(batch(images)))["logits"], reference(2, images), atol=1e-4)
    await engine.close()


async def until_held(engine: Engine, versions: set[int]) -> None:
    """As the keeper does: tell it, then look until it is so."""
    ready = {("mnist", version): Observed(VersionState.READY) for version in versions}

    async def is_so() -> bool:
        try:
            if await engine.observe(frozenset({"mnist"})) == ready:
                return True
            await engine.serve({"mnist": frozenset(versions)})
        except EngineUnreachable:
            return False  # it is starting
        return False

    await wait_until_async(is_so, 90, f"versions {versions} ready, and no others")
