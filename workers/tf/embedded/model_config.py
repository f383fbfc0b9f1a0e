"""ModelServerConfig: from the text format of `--model_config_file`, or from a reload request, to frozen values."""

import logging
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from google.protobuf import text_format
from tensorflow_serving.config import model_server_config_pb2

from workers.tf.embedded.faults import invalid
from workers.tf.embedded.policies import All, Latest, Specific, VersionPolicy

_LOG = logging.getLogger(__name__)

PLATFORM = "tensorflow"


@dataclass(frozen=True)
class ModelConfig:
    """One entry of the list. `labels` maps a label to the version it stands for."""

    name: str
    base_path: str
    platform: str = PLATFORM
    policy: VersionPolicy = field(default_factory=Latest)
    labels: dict[str, int] = field(default_factory=dict)


def parse_config_file(path: str) -> tuple[ModelConfig, ...]:
    """Read the models of a text-format file; a file that names no list holds none.

    Raises Fault(INVALID_ARGUMENT) when it does not parse, OSError when it cannot be read.
    """
    message: Any = model_server_config_pb2.ModelServerConfig()
    with open(path, "rb") as file:
        text = file.read()
    try:
        text_format.Parse(text, message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        _LOG.error("Error parsing text-format tensorflow.serving.ModelServerConfig: %s", error)
        raise invalid(f"Invalid protobuf file: '{path}'") from error
    if message.WhichOneof("config") is None:
        return ()
    return decode_config(message)


def decode_config(message: Any) -> tuple[ModelConfig, ...]:
    """Decode a ModelServerConfig. Raises Fault(INVALID_ARGUMENT) when it is not a list of models."""
    if message.WhichOneof("config") != "model_config_list":
        raise invalid(
            "ServerModelConfig type not supported by HandleReloadConfigRequest. "
            "Only ModelConfigList is currently supported"
        )
    return tuple(_decode_model(entry) for entry in message.model_config_list.config)


def check_models(models: tuple[ModelConfig, ...]) -> None:
    """Raises Fault(INVALID_ARGUMENT) when a name comes twice or a base path is relative."""
    seen: set[str] = set()
    for model in models:
        if model.name in seen:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models:
        if not PurePosixPath(model.base_path).is_absolute():
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )


def check_platform_changes(old: tuple[ModelConfig, ...], new: tuple[ModelConfig, ...]) -> None:
    """Raises Fault(INVALID_ARGUMENT) when a model that stays would change its platform."""
    platforms = {model.name: model.platform for model in old}
    for model in new:
        if model.name not in platforms:
            continue
        _require_platform(model)
        if model.platform != platforms[model.name]:
            raise invalid(
                f"Illegal to change a model's platform. For model {model.name} platform was "
                f"{platforms[model.name]} and new platform requested is {model.platform}"
            )


def check_platforms(models: tuple[ModelConfig, ...]) -> None:
    """Raises Fault(INVALID_ARGUMENT) when a model names no platform, or one other than tensorflow."""
    for model in models:
        _require_platform(model)
        if model.platform != PLATFORM:
            raise invalid(f"Model {model.name} requests unsupported platform {model.platform}")


def _require_platform(model: ModelConfig) -> None:
    if not model.platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )


def _decode_model(entry: Any) -> ModelConfig:
    is_typed = entry.model_type == model_server_config_pb2.TENSORFLOW
    return ModelConfig(
        name=entry.name,
        base_path=entry.base_path,
        platform=entry.model_platform or (PLATFORM if is_typed else ""),
        policy=_decode_policy(entry.model_version_policy),
        labels=dict(entry.version_labels),
    )


def _decode_policy(message: Any) -> VersionPolicy:
    match message.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(frozenset(message.specific.versions))
        case "latest":
            return Latest(message.latest.num_versions or 1)
        case _:
            return Latest()
