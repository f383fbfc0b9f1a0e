"""What TensorFlow Serving's dialects hold a request against, in that server's own words.

Rules: pure, and the same for gRPC and REST; where those two differ, the difference is in the dialect. Sources:
tensorflow_serving/servables/tensorflow/predict_util.cc, core/server_core.cc. Must not know any message.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from gateway.core.errors import InvalidRequest, NotFound, UnknownSignature
from gateway.core.ports import Observed, VersionState
from gateway.core.router import ModelRoute, Router
from gateway.core.tensors import Signature

DEFAULT_SIGNATURE = "serving_default"
PREDICT_METHOD = "tensorflow/serving/predict"
LIVE_LABELS = ("live", "stable")
CANARY_LABEL = "canary"

TYPE_NAMES: Mapping[str, str] = {
    "BOOL": "bool",
    "UINT8": "uint8",
    "UINT16": "uint16",
    "UINT32": "uint32",
    "UINT64": "uint64",
    "INT8": "int8",
    "INT16": "int16",
    "INT32": "int32",
    "INT64": "int64",
    "FP16": "half",
    "FP32": "float",
    "FP64": "double",
    "BF16": "bfloat16",
    "BYTES": "string",
}
"""TensorFlow's word for each datatype."""

# tensorflow.serving.ModelVersionStatus.State; what failed to load has ended.
_STATES = {
    VersionState.LOADING: "LOADING",
    VersionState.WARMING: "LOADING",
    VersionState.READY: "AVAILABLE",
    VersionState.UNLOADING: "UNLOADING",
    VersionState.ERROR: "END",
}


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a client calls a model: by version, by label, or by neither, which is whatever answers now."""

    model: str
    version: int | None = None
    label: str | None = None


@dataclass(frozen=True, slots=True)
class VersionStatus:
    """One version as TensorFlow Serving tells of it: its state there, and why it failed, None when it did not."""

    version: int
    state: str
    failure: str | None


def resolve(router: Router, spec: ModelSpec) -> int | None:
    """The version asked for, None for whatever answers now. Raises NotFound, InvalidRequest (an unknown label).

    `live` and `stable` are the live version, `canary` the one on its way to it, while it takes traffic.
    """
    model = router.table.models.get(spec.model)
    if model is None:
        raise not_found(spec)
    version = spec.version if spec.label is None else _labelled(model, spec.label)
    if version is not None and version not in model.versions:
        raise not_found(ModelSpec(spec.model, version))
    return version


def not_found(spec: ModelSpec) -> NotFound:
    """What is said about a model or version that is not served."""
    what = f"Latest({spec.model})" if spec.version is None else f"Specific({spec.model}, {spec.version})"
    return NotFound(f"Servable not found for request: {what}")


@contextmanager
def in_their_words(model: str, version: int | None) -> Iterator[None]:
    """What has left since it was looked up is told of as TensorFlow Serving does."""
    try:
        yield
    except NotFound as error:
        raise not_found(ModelSpec(model, version)) from error


def list_states(states: Iterable[tuple[int, Observed]], spec: ModelSpec) -> list[VersionStatus]:
    """What there is to tell of a model's versions, in their order.

    A version asked for is the only one told of; a label is passed over, as the original does. Raises NotFound.
    """
    there = [
        VersionStatus(version, _STATES[seen.state], seen.reason if seen.state is VersionState.ERROR else None)
        for version, seen in states
        if spec.version in (None, version)
    ]
    if not there:
        what = "any versions" if spec.version is None else f"version {spec.version}"
        raise NotFound(f"Could not find {what} of model {spec.model}")
    return there


def check_signature_name(name: str) -> None:
    """Raises UnknownSignature: a version has one signature here."""
    if name not in ("", DEFAULT_SIGNATURE):
        raise UnknownSignature(f'Serving signature key "{name}" not found.')


def check_input_names(given: Iterable[str], signature: Signature) -> None:
    """Raises InvalidRequest when inputs are too many, too few or misnamed."""
    sent, required = set(given), {spec.name for spec in signature.inputs}
    if len(sent) != len(required):
        raise InvalidRequest(
            f"input size does not match signature: {len(sent)}!={len(required)} "
            f"len({_set(sent)}) != len({_set(required)}). Sent extra: {_set(sent - required)}. "
            f"Missing but required: {_set(required - sent)}."
        )
    for name in sorted(required - sent):
        raise InvalidRequest(
            f"Signature input alias: {name}(feed name: {feed_name(name)}) not found in request and no default value "
            f"provided. Inputs expected to be in the request {_set(sent)}, or default input alias set: "
        )


def check_output_filter(wanted: Sequence[str], signature: Signature) -> None:
    """Raises InvalidRequest for an output that is unknown or named twice."""
    known = {spec.name for spec in signature.outputs}
    for index, name in enumerate(wanted):
        if name not in known:
            raise InvalidRequest(
                f"output tensor alias not found in signature: {name} Outputs expected to be in the set {_set(known)}."
            )
        if name in wanted[:index]:
            raise InvalidRequest(f"duplicate output tensor alias: {name}")


def check_tensors(shapes: Mapping[str, Sequence[int]], types: Mapping[str, str], signature: Signature) -> None:
    """Hold every input's shape, then every input's type (TensorFlow's word), against the signature.

    The original looks at no shape, and its kernels at most; a wrong one can end its process. Raises InvalidRequest.
    """
    for name in sorted(shapes):
        spec = signature.input(name)
        if not spec.admits(tuple(shapes[name])):
            raise InvalidRequest(f'Input "{name}" expects shape {_sizes(spec.shape)}, received {_sizes(shapes[name])}')
    for index, name in enumerate(sorted(types)):
        expected = TYPE_NAMES[signature.input(name).datatype]
        if types[name] != expected:
            raise InvalidRequest(f"Expects arg[{index}] to be {expected} but {types[name]} is provided")


def feed_name(name: str) -> str:
    """How TensorFlow's exporter calls the graph's tensor for an input."""
    return f"{DEFAULT_SIGNATURE}_{name}:0"


def _labelled(model: ModelRoute, label: str) -> int:
    if label in LIVE_LABELS:
        return model.live
    if label == CANARY_LABEL and model.canary is not None and model.canary.share:
        return model.canary.version
    raise InvalidRequest(f"Unrecognized servable version label: {label}")


def _set(names: Iterable[str]) -> str:
    return "{" + ",".join(sorted(names)) + "}"


def _sizes(shape: Sequence[int]) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
