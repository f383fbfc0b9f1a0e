"""What is told about models, as plain data in the shape of the protocols' JSON: one function each for all transports.

Field names are those of the Open Inference Protocol (metadata) and of Triton's model configuration and statistics
extensions; the gRPC messages have the same.
"""

from collections.abc import Mapping
from typing import Any

from gateway.core.router import ModelRoute, VersionRoute
from gateway.core.tensors import TensorSpec
from gateway.core.usage import Usage

PLATFORM = "twinserve"

_CONFIG_TYPES = {datatype: f"TYPE_{datatype}" for datatype in ("BOOL", "FP16", "FP32", "FP64", "BF16")} | {
    f"{sign}INT{bits}": f"TYPE_{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)
}


def describe_model(model: ModelRoute, route: VersionRoute) -> dict[str, Any]:
    """The model metadata object, with the signature of this version."""
    return {
        "name": model.name,
        "versions": [str(number) for number in sorted(model.versions)],
        "platform": PLATFORM,
        "inputs": [_tensor(spec) for spec in route.signature.inputs],
        "outputs": [_tensor(spec) for spec in route.signature.outputs],
    }


def describe_config(model: ModelRoute, route: VersionRoute, batch_rows: int) -> dict[str, Any]:
    """Triton's ModelConfig, as far as it has a meaning here.

    A model that counts rows in its first dimension is batched up to `batch_rows` of them, and its dims leave that
    dimension out; any other has max_batch_size 0 and all its dims.
    """
    is_batchable = route.signature.is_batchable
    skipped = 1 if is_batchable else 0
    return {
        "name": model.name,
        "platform": PLATFORM,
        "backend": PLATFORM,
        "version_policy": {"specific": {"versions": sorted(model.versions)}},
        "max_batch_size": batch_rows if is_batchable else 0,
        "input": [_config_tensor(spec, skipped) for spec in route.signature.inputs],
        "output": [_config_tensor(spec, skipped) for spec in route.signature.outputs],
        **({"dynamic_batching": {}} if is_batchable else {}),
        "model_transaction_policy": {"decoupled": False},
    }


def describe_statistics(model: str, version: int, usage: Usage) -> dict[str, Any]:
    """Triton's ModelStatistics from our stages: decode is compute_input, upstream compute_infer, encode compute_output.

    inference_count is rows and execution_count engine calls, copies for the mirror included; there is no cache.
    """
    durations = {
        "success": (usage.answered, usage.answered_ns),
        "fail": (usage.failed, usage.failed_ns),
        "queue": (usage.answered, usage.queue_ns),
        "compute_input": (usage.answered, usage.decode_ns),
        "compute_infer": (usage.answered, usage.upstream_ns),
        "compute_output": (usage.answered, usage.encode_ns),
        "cache_hit": (0, 0),
        "cache_miss": (0, 0),
    }
    return {
        "name": model,
        "version": str(version),
        "last_inference": usage.last_answered_ms,
        "inference_count": usage.rows,
        "execution_count": usage.executions,
        "inference_stats": {name: {"count": count, "ns": ns} for name, (count, ns) in durations.items()},
    }


def list_statistics(
    models: Mapping[str, ModelRoute], usages: Mapping[tuple[str, int], Usage], version: int | None = None
) -> list[dict[str, Any]]:
    """The statistics of these models' versions that can be asked for, or of the one version of each."""
    return [
        describe_statistics(name, number, usages.get((name, number), Usage()))
        for name, model in sorted(models.items())
        for number in sorted(model.versions)
        if version in (None, number)
    ]


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": list(spec.shape)}


def _config_tensor(spec: TensorSpec, skipped: int) -> dict[str, Any]:
    data_type = _CONFIG_TYPES.get(spec.datatype, "TYPE_STRING")
    return {"name": spec.name, "data_type": data_type, "dims": list(spec.shape[skipped:])}
