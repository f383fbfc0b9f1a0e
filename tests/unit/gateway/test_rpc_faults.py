"""What goes wrong over gRPC: the code each fault has, what is said about it, and that nothing hostile is our fault."""

import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from gateway.core import errors
from gateway.protocols.grpc_status import metadata_of, status_of
from gateway.protocols.http_status import status_of as http_status_of
from tests.unit.gateway.rpc import INFER, INFERENCE, PREDICT, STREAM, RpcClient, infer_request, rpc_client
from tests.unit.gateway.served import TOKEN, Served, serving

SERVICE = "/inference.GRPCInferenceService/"
INVALID, NOT_FOUND = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("faults")) as served:
        yield served


@pytest.fixture(scope="module")
def client(shared: Served) -> Iterator[RpcClient]:
    with rpc_client(shared.grpc_target) as client:
        yield client


def kinds(kind: type[Any]) -> Iterator[type[Any]]:
    for child in kind.__subclasses__():
        yield child
        yield from kinds(child)


def test_every_error_of_the_core_has_a_code_on_both_transports() -> None:
    """The one that must not be INTERNAL or 500 by accident is told from the one that is meant to be."""
    ours = {errors.EngineError, errors.EngineFailed, errors.RepositoryFailed}
    for kind in set(kinds(errors.ServingError)) - ours:
        assert status_of(kind("x")) is not grpc.StatusCode.INTERNAL, kind
        assert http_status_of(kind("x")) != 500, kind
    assert status_of(errors.EngineFailed("x")) is grpc.StatusCode.INTERNAL


def test_an_error_says_when_to_try_again_and_who_was_asked() -> None:
    error = errors.Unavailable("x")
    error.engine = "torchserve"
    assert metadata_of(error) == {"x-engine": "torchserve", "retry-after": "1"}
    assert metadata_of(errors.InvalidRequest("x")) == {}


def thirteen() -> Any:
    request = infer_request(is_raw=False)
    request.inputs[0].contents.fp32_contents[0] = 13
    return request


def with_parameter(name: str, kind: str, value: Any) -> Any:
    request = infer_request()
    setattr(request.parameters[name], kind, value)
    return request


def with_output(name: str) -> Any:
    request = infer_request()
    request.outputs.add(name=name)
    return request


@pytest.mark.parametrize(
    ("request_", "metadata", "code", "said"),
    [
        (b"\xff", {}, INVALID, "malformed ModelInferRequest"),
        (b"\x0a\xff\xff\xff\xff\x0f", {}, INVALID, "malformed ModelInferRequest"),
        (b"\x0a\x01\xff", {}, INVALID, "malformed ModelInferRequest"),  # a name that is not UTF-8
        (b"", {}, NOT_FOUND, "unknown model ''"),
        (infer_request(model_name="nobody"), {}, NOT_FOUND, "unknown model 'nobody'"),
        (infer_request(model_version="9"), {}, NOT_FOUND, "unknown version 9 of model 'adder': expected one of [1, 2]"),
        (infer_request(model_version="-1"), {}, NOT_FOUND, "expected a positive integer"),
        (infer_request(model_version="latest"), {}, NOT_FOUND, "expected a positive integer"),
        (INFERENCE.ModelInferRequest(model_name="adder"), {}, INVALID, "missing input: expected a FP32[-1, 2]"),
        (infer_request(rows=0), {}, INVALID, "expected at least one row"),
        (with_output("y"), {}, INVALID, "unexpected output 'y': expected sum FP32[-1, 2]"),
        (infer_request(), {"x-engine": "onnx"}, INVALID, "unknown engine 'onnx'"),
        (with_parameter("engine", "string_param", "onnx"), {}, INVALID, "unknown engine 'onnx'"),
        (
            with_parameter("engine", "string_param", "tfserving"),
            {"x-engine": "torchserve"},
            INVALID,
            "expected one engine",
        ),
        (with_parameter("timeout", "int64_param", 1), {}, grpc.StatusCode.DEADLINE_EXCEEDED, "deadline"),
        (thirteen(), {}, INVALID, "no thirteens"),
    ],
)
def test_wrong_requests(client: RpcClient, request_: Any, metadata: dict[str, str], code: Any, said: str) -> None:
    outcome = client.call(INFER, request_, metadata)
    assert (outcome.code, said in outcome.said) == (code, True), outcome
    assert outcome.trailing["x-request-id"]


def pictures(size_bytes: int) -> Any:
    """A request of about this size, which is answered with a hundredth of that."""
    rows = size_bytes // (28 * 28 * 4)
    request = INFERENCE.ModelInferRequest(model_name="pictures", raw_input_contents=[bytes(rows * 28 * 28 * 4)])
    request.inputs.add(name="images", datatype="FP32", shape=[rows, 28, 28])
    return request


@pytest.mark.long
def test_a_message_may_be_64_mib_and_no_more(client: RpcClient) -> None:
    # So many small rows are read whole, and refused for their number alone.
    whole = pictures(64 * 2**20 - 100)
    assert 64 * 2**20 - 4000 < whole.ByteSize() < 64 * 2**20
    assert "expected at most 8192 rows in one request, got 213" in client.call(INFER, whole, timeout_s=30).said
    larger = client.call(INFER, pictures(64 * 2**20 + 3136), timeout_s=30)
    assert larger.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "SERVER: Received message larger than max" in larger.said


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (f"{SERVICE}ModelInferr", grpc.StatusCode.UNIMPLEMENTED),
        ("/inference.Nobody/ModelInfer", grpc.StatusCode.UNIMPLEMENTED),
        ("/tensorflow.serving.PredictionService/Classify", grpc.StatusCode.UNIMPLEMENTED),
        (f"{SERVICE}ServerLive", INVALID),
        (f"{SERVICE}ModelReady", INVALID),
        (f"{SERVICE}ModelStatistics", INVALID),
        (f"{SERVICE}RepositoryModelLoad", INVALID),
        (PREDICT, INVALID),
        ("/grpc.health.v1.Health/Check", INVALID),
    ],
)
def test_bytes_that_are_no_message(client: RpcClient, path: str, code: grpc.StatusCode) -> None:
    assert client.call(path, b"\xff\xff").code is code


def test_the_other_calls_name_what_is_not_there(client: RpcClient) -> None:
    for call in ("ModelMetadata", "ModelConfig", "ModelStatistics"):
        kind = getattr(INFERENCE, f"{call}Request")
        for request in (kind(name="nobody"), kind(name="adder", version="9"), kind(name="adder", version="x")):
            assert client.call(SERVICE + call, request).code is NOT_FOUND, request
    for call in ("ModelMetadata", "ModelConfig"):
        assert client.call(SERVICE + call, b"").code is NOT_FOUND


def test_who_answered_is_said_in_trailing_metadata(client: RpcClient) -> None:
    outcome = client.call(INFER, infer_request(), {"x-request-id": "mine", "x-engine": "tfserving"})
    assert outcome.code is grpc.StatusCode.OK
    metadata = outcome.trailing
    told = (metadata["x-request-id"], metadata["x-engine"], metadata["x-model-version"])
    assert told == ("mine", "tfserving", "2")
    assert "upstream;dur=" in metadata["server-timing"]
    by_parameter = client.call(INFER, with_parameter("engine", "string_param", "torchserve"))
    assert by_parameter.trailing["x-engine"] == "torchserve"
    spoiled = client.call(INFER, infer_request(), {"x-request-id": "two words"})
    assert len(spoiled.trailing["x-request-id"]) == 32


def test_metadata_that_is_not_text_is_passed_over(client: RpcClient) -> None:
    said: Any = {"x-engine-bin": b"\xff\x00", "x-request-id-bin": b"\xff", "x-request-id": "mine"}
    outcome = client.call(INFER, infer_request(), said)
    assert (outcome.code, outcome.trailing["x-request-id"]) == (grpc.StatusCode.OK, "mine")


def test_requests_are_counted_by_how_they_ended(shared: Served, client: RpcClient) -> None:
    def count(outcome: str, engine: str = "", model: str = "adder", version: str = "2") -> float:
        labels = f'engine="{engine}",model="{model}",outcome="{outcome}",protocol="oip_grpc",version="{version}"'
        return shared.metric(f"twinserve_requests_total{{{labels}}}")

    before = [count("ok", "torchserve"), count("invalid"), count("not_found", model="", version="")]
    client.call(INFER, infer_request(), {"x-engine": "torchserve"})
    client.call(INFER, infer_request(rows=0))
    client.call(INFER, infer_request(model_name="made-up-by-a-client"))
    after = [count("ok", "torchserve"), count("invalid"), count("not_found", model="", version="")]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1]
    assert "made-up-by-a-client" not in shared.client.get("/metrics").text


def test_no_engine(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("gone")) as served, rpc_client(served.grpc_target) as client:
        for engine in served.engines.values():
            engine.is_reachable = False
        outcome = client.call(INFER, infer_request())
        assert outcome.code is grpc.StatusCode.UNAVAILABLE
        assert outcome.trailing["retry-after"] == "1"
        ready = client.call(f"{SERVICE}ServerReady", b"")
        assert not INFERENCE.ServerReadyResponse.FromString(ready.message).ready
        live = client.call(f"{SERVICE}ServerLive", b"")
        assert INFERENCE.ServerLiveResponse.FromString(live.message).live


def test_what_changes_the_repository_needs_the_token(tmp_path_factory: pytest.TempPathFactory) -> None:
    with serving(tmp_path_factory.mktemp("operators")) as served, rpc_client(served.grpc_target) as client:
        load = INFERENCE.RepositoryModelLoadRequest(model_name="adder")
        load.parameters["version"].int64_param = 1
        refusals: list[dict[str, str]] = [{}, {"authorization": "Bearer wrong"}, {"authorization": TOKEN}]
        for said in refusals:
            assert client.call(f"{SERVICE}RepositoryModelLoad", load, said).code is grpc.StatusCode.UNAUTHENTICATED
        done = client.call(f"{SERVICE}RepositoryModelLoad", load, {"authorization": f"Bearer {TOKEN}"})
        assert done.code is grpc.StatusCode.OK, done
        assert client.call(INFER, infer_request()).trailing["x-model-version"] == "1"
        for kind, value in (("bool_param", True), ("string_param", "newest"), ("bytes_param", b"1")):
            spoiled = INFERENCE.RepositoryModelLoadRequest(model_name="adder")
            setattr(spoiled.parameters["version"], kind, value)
            refused = client.call(f"{SERVICE}RepositoryModelLoad", spoiled, {"authorization": f"Bearer {TOKEN}"})
            assert refused.code in (INVALID, NOT_FOUND)


# -- byte by byte

SEEDS = [
    infer_request(is_raw=is_raw, model_version=version).SerializeToString()
    for is_raw in (True, False)
    for version in ("", "1", "9")
] + [with_parameter("timeout", "int64_param", 10**6).SerializeToString(), with_output("sum").SerializeToString()]
ALLOWED = {"OK", "INVALID_ARGUMENT", "NOT_FOUND", "DEADLINE_EXCEEDED"}


def damage(message: bytes, chance: random.Random) -> bytes:
    data = bytearray(message)
    for _ in range(chance.randint(1, 4)):
        at = chance.randrange(len(data) + 1)
        other = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0:
                del data[at:]
            case 1:
                del data[at : at + chance.randint(1, 5)]
            case 2:
                data[at:at] = chance.randbytes(chance.randint(1, 6))
            case 3:
                data[at:at] = data[other : other + chance.randint(1, 40)]
            case 4:
                data[at : at + 1] = bytes([chance.choice((0, 1, 127, 128, 255))])
            case _:
                data[at : at + 1] = bytes([b ^ 1 << chance.randrange(8) for b in data[at : at + 1]])
    return bytes(data)


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # in the fake engine, which doubles
@pytest.mark.long
def test_damaged_messages_are_the_clients_fault(client: RpcClient) -> None:
    chance = random.Random(20)
    codes: Counter[str] = Counter()
    for number in range(2000):
        message = damage(chance.choice(SEEDS), chance)
        outcome = client.call(INFER, message, timeout_s=5)
        codes[outcome.code.name] += 1
        assert outcome.code.name in ALLOWED, (number, message, outcome)
    assert min(codes["OK"], codes["INVALID_ARGUMENT"], codes["NOT_FOUND"]) > 10, codes
    assert client.call(INFER, infer_request()).code is grpc.StatusCode.OK


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_a_stream_outlives_damaged_messages(shared: Served) -> None:
    chance = random.Random(21)
    messages = [damage(chance.choice(SEEDS), chance) for _ in range(500)] + [SEEDS[0]]
    with grpc.insecure_channel(shared.grpc_target) as channel:
        stream: Any = channel.stream_stream(STREAM)
        answers = [INFERENCE.ModelStreamInferResponse.FromString(a) for a in stream(iter(messages), timeout=30)]
    assert len(answers) == len(messages)
    assert not [a.error_message for a in answers if "internal" in a.error_message]
    assert answers[-1].infer_response.model_version == "2"
