"""TensorFlow Serving by gRPC: Predict, GetModelStatus, HandleReloadConfigRequest.

Versions are pinned with the `specific` policy and the whole model list is sent every time, because a reload replaces
all of it (TensorFlow Serving, model_servers/server_core.cc). Works the same against `tensorflow_model_server` and
the embedded server.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import numpy as np

from contracts.byte_strings import array_of
from contracts.tfserving import (
    AVAILABLE_STATE,
    DATATYPE_NUMBERS,
    END_STATE,
    GET_MODEL_STATUS,
    LOADING_STATES,
    PREDICT,
    RELOAD_CONFIG,
    VALUE_FIELDS,
    load_messages,
)
from gateway.core.errors import (
    DeadlineExceeded,
    EngineError,
    EngineFailed,
    EngineRejected,
    EngineUnreachable,
    ServingError,
    VersionLost,
)
from gateway.core.messages import EngineBatch
from gateway.core.ports import Observed, VersionState
from gateway.core.tensors import DATATYPES, DTYPES, Tensor

CONTROL_TIMEOUT_S = 5.0
# A server begins to act on a new list within its own interval of 0.1 s; what it says before is of the old one.
TAKE_UP_S = 2.0
_CLOSED = "tfserving is not asked any more at this address"
_OPTIONS = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    # A restarted engine should be found again within the probe interval, not after gRPC's default two minutes.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
    # A restarted container may have another address, which gRPC otherwise asks for once in 30 s at most.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
)
_DATATYPES = {number: name for name, number in DATATYPE_NUMBERS.items()}
_REFUSED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.UNIMPLEMENTED,
}


@dataclass(frozen=True, slots=True)
class TfServingAddress:
    """Where TensorFlow Serving listens, what runs there, and the repository's path as that process sees it."""

    target: str
    implementation: str
    repository: Path


class TfServing:
    """An endpoint of the engine `tfserving`. Made inside a running event loop, which its channel belongs to."""

    name = "tfserving"

    def __init__(self, address: TfServingAddress) -> None:
        self.implementation = address.implementation
        self.address = address.target
        self.endpoint = f"{self.name}/{address.target}"
        self._repository = address.repository
        self._is_closed = False
        self._told: Mapping[str, frozenset[int]] | None = None
        self._listed_at: dict[tuple[str, int], float] = {}
        self._messages = load_messages()
        self._channel = grpc.aio.insecure_channel(address.target, options=_OPTIONS)
        self._predict = self._method(PREDICT, self._messages.PredictResponse)
        self._status = self._method(GET_MODEL_STATUS, self._messages.GetModelStatusResponse)
        self._reload = self._method(RELOAD_CONFIG, self._messages.ReloadConfigResponse)

    def _method(self, path: str, response: Any) -> Callable[..., Awaitable[Any]]:
        return self._channel.unary_unary(
            path,
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=response.FromString,
        )

    async def infer(self, batch: EngineBatch) -> Mapping[str, Tensor]:
        """See gateway.core.ports.Engine."""
        request = self._messages.PredictRequest()
        request.model_spec.name = batch.model
        request.model_spec.version.value = batch.version
        for name, tensor in batch.inputs.items():
            encode_tensor(request.inputs[name], tensor)
        timeout_s = batch.deadline - asyncio.get_running_loop().time()
        if timeout_s <= 0:
            raise DeadlineExceeded("the deadline had passed before tfserving was asked")
        if self._is_closed:  # the channel's own word for it is no grpc.RpcError
            raise EngineUnreachable(_CLOSED)
        try:
            response = await self._predict(request, timeout=timeout_s, metadata=batch.metadata or None)
        except grpc.RpcError as error:
            raise _translate(error) from error
        except asyncio.CancelledError as error:
            if self._is_cut_off():
                raise EngineUnreachable(_CLOSED) from error
            raise
        return {name: decode_tensor(proto) for name, proto in response.outputs.items()}

    def _is_cut_off(self) -> bool:
        """Whether a call was ended by closing the channel: that looks as if whoever awaits it had been cancelled."""
        task = asyncio.current_task()
        return self._is_closed and task is not None and not task.cancelling()

    async def observe(self, models: frozenset[str]) -> Mapping[tuple[str, int], Observed]:
        """See gateway.core.ports.Engine."""
        observed: dict[tuple[str, int], Observed] = {}
        for model in models:
            request = self._messages.GetModelStatusRequest()
            request.model_spec.name = model
            try:
                response = await self._status(request, timeout=CONTROL_TIMEOUT_S)
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.NOT_FOUND:
                    continue
                raise _control_error(error) from error
            for status in response.model_version_status:
                seen = _observed(status)
                if seen is not None and not self._is_bygone(model, status.version, seen):
                    observed[model, status.version] = seen
        if not models:
            await self._probe()
        return observed

    def _is_bygone(self, model: str, version: int, seen: Observed) -> bool:
        """Whether a failure is of an earlier attempt: the server remembers it until it takes up the list anew."""
        if seen.state is not VersionState.ERROR or self._told is None:
            return False
        listed_s = asyncio.get_running_loop().time() - self._listed_at.get((model, version), 0.0)
        return version not in self._told.get(model, ()) or listed_s < TAKE_UP_S

    async def _probe(self) -> None:
        """Reach the engine when there is no model to ask about."""
        try:
            await asyncio.wait_for(self._channel.channel_ready(), CONTROL_TIMEOUT_S)
        except TimeoutError as error:
            raise EngineUnreachable("tfserving does not accept a connection") from error

    async def serve(self, desired: Mapping[str, frozenset[int]]) -> None:
        """See gateway.core.ports.Engine."""
        now = asyncio.get_running_loop().time()
        before = self._told or {}
        wished = {(model, version) for model, versions in desired.items() for version in versions}
        for model, version in wished:
            if self._told is not None and version not in before.get(model, ()):
                self._listed_at[model, version] = now
        self._listed_at = {key: at for key, at in self._listed_at.items() if key in wished}
        self._told = desired
        try:
            response = await self._reload(self._reload_request(desired), timeout=CONTROL_TIMEOUT_S)
        except grpc.RpcError as error:
            # A reload waits for newly named models to load; running out of time is not a refusal, `observe` will tell.
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                return
            raise _control_error(error) from error
        if response.status.error_code:
            raise EngineFailed(f"tfserving refused the model list: {response.status.error_message}")

    def _reload_request(self, desired: Mapping[str, frozenset[int]]) -> Any:
        request = self._messages.ReloadConfigRequest()
        request.config.model_config_list.SetInParent()
        for name in sorted(name for name, versions in desired.items() if versions):
            config = request.config.model_config_list.config.add()
            config.name = name
            config.base_path = str(self._repository / name)
            config.model_platform = "tensorflow"
            config.model_version_policy.specific.versions.extend(sorted(desired[name]))
        return request

    async def close(self) -> None:
        """See gateway.core.ports.Engine."""
        self._is_closed = True
        await self._channel.close()


def encode_tensor(proto: Any, tensor: Tensor) -> None:
    """Fill a tensorflow.TensorProto; the bytes are little-endian and row-major, as `tensor_content` wants them.

    Strings stand in their own field.
    """
    proto.dtype = DATATYPE_NUMBERS[DATATYPES[tensor.dtype]]
    for size in tensor.shape:
        proto.tensor_shape.dim.add().size = size
    if tensor.dtype.hasobject:
        proto.string_val.extend(tensor.ravel().tolist())
    else:
        proto.tensor_content = tensor.tobytes()


def decode_tensor(proto: Any) -> Tensor:
    """Read a tensorflow.TensorProto (tensorflow/core/framework/tensor.proto), typed values or `tensor_content`.

    Raises EngineFailed when it is not one.
    """
    datatype = _DATATYPES.get(proto.dtype)
    if datatype is None:
        raise EngineFailed(f"tfserving answered with datatype number {proto.dtype}, which twinserve does not carry")
    dtype = DTYPES[datatype]
    shape = [dim.size for dim in proto.tensor_shape.dim]
    try:
        if dtype.hasobject:
            values = list(proto.string_val)
            return array_of(values * (math.prod(shape) if len(values) == 1 else 1), shape)
        if proto.tensor_content:
            return np.frombuffer(proto.tensor_content, dtype).reshape(shape)
        values = getattr(proto, VALUE_FIELDS[datatype])
        # half_val carries bit patterns
        is_bits = VALUE_FIELDS[datatype] == "half_val"
        array = np.array(values, np.uint16).view(dtype) if is_bits else np.array(values, dtype)
        if len(values) == 1:  # one value stands for all elements
            return np.full(shape, array[0], dtype)
        return array.reshape(shape)
    except ValueError as error:
        raise EngineFailed(f"tfserving answered with a broken tensor: {error}") from error


def _observed(status: Any) -> Observed | None:
    if status.state in LOADING_STATES:
        return Observed(VersionState.LOADING)
    if status.state == AVAILABLE_STATE:
        return Observed(VersionState.READY)
    if status.state == END_STATE:
        # END is kept for the life of the server: with an error the load failed, without one it was unloaded.
        return Observed(VersionState.ERROR, status.status.error_message) if status.status.error_code else None
    return Observed(VersionState.UNLOADING)


def _translate(error: grpc.RpcError) -> ServingError:
    code, details = error.code(), error.details() or ""
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return DeadlineExceeded("tfserving did not answer before the deadline")
    if code in _REFUSED:
        return EngineRejected(f"tfserving refused the batch: {details}")
    if code is grpc.StatusCode.NOT_FOUND:  # it lost a version that routing believed ready, as a restarted server has
        return VersionLost(f"tfserving cannot answer: {details}")
    if code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
        return EngineUnreachable(f"tfserving cannot answer: {details}")
    return EngineFailed(f"tfserving failed ({code.name}): {details}")


def _control_error(error: grpc.RpcError) -> EngineError:
    translated = _translate(error)
    if isinstance(translated, EngineError):
        return translated
    return EngineUnreachable(translated.message)
