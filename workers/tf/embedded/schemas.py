"""Messages that the tensorflow-serving-api package leaves out, by the field numbers of the original's protos.

monitoring_config.proto, ssl_config.proto, session_bundle_config.proto (BatchingParameters) and grpc's health.proto.
They live in a descriptor pool of their own.
"""

from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format, wrappers_pb2

from workers.tf.embedded.faults import invalid

_STRING = descriptor_pb2.FieldDescriptorProto.TYPE_STRING
_BOOL = descriptor_pb2.FieldDescriptorProto.TYPE_BOOL
_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_INT32 = descriptor_pb2.FieldDescriptorProto.TYPE_INT32
_INT64_VALUE = ".google.protobuf.Int64Value"

_SERVING = "tensorflow.serving"
_HEALTH = "grpc.health.v1"

# Message to fields; a field is (name, number, type), a type of str being another message's full name.
_SERVING_MESSAGES: dict[str, tuple[tuple[str, int, int | str], ...]] = {
    "PrometheusConfig": (("enable", 1, _BOOL), ("path", 2, _STRING)),
    "MonitoringConfig": (("prometheus_config", 1, f".{_SERVING}.PrometheusConfig"),),
    "SSLConfig": (
        ("server_key", 1, _STRING),
        ("server_cert", 2, _STRING),
        ("custom_ca", 3, _STRING),
        ("client_verify", 4, _BOOL),
    ),
    "BatchingParameters": (
        ("max_batch_size", 1, _INT64_VALUE),
        ("batch_timeout_micros", 2, _INT64_VALUE),
        ("max_enqueued_batches", 3, _INT64_VALUE),
        ("num_batch_threads", 4, _INT64_VALUE),
        ("thread_pool_name", 5, ".google.protobuf.StringValue"),
        ("allowed_batch_sizes", 6, _INT64),
        ("pad_variable_length_inputs", 7, _BOOL),
        ("enable_large_batch_splitting", 8, ".google.protobuf.BoolValue"),
        ("max_execution_batch_size", 9, _INT64_VALUE),
    ),
}
# The status is an enum there, which travels as an int32 does.
_HEALTH_MESSAGES: dict[str, tuple[tuple[str, int, int | str], ...]] = {
    "HealthCheckRequest": (("service", 1, _STRING),),
    "HealthCheckResponse": (("status", 1, _INT32),),
}
_REPEATED = frozenset({"allowed_batch_sizes"})


def message_class(name: str) -> Any:
    """The class of a message by its bare name: MonitoringConfig, SSLConfig, BatchingParameters, HealthCheck…"""
    pool = descriptor_pool.DescriptorPool()
    wrappers = descriptor_pb2.FileDescriptorProto()
    wrappers_pb2.DESCRIPTOR.CopyToProto(wrappers)
    pool.Add(wrappers)
    package, messages = (_HEALTH, _HEALTH_MESSAGES) if name in _HEALTH_MESSAGES else (_SERVING, _SERVING_MESSAGES)
    pool.Add(_file(package, messages, wrappers.name))
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}"))


def read_text_message(path: Path, message: Any) -> Any:
    """Fill `message` from a text-format file and return it.

    Raises Fault(INVALID_ARGUMENT) when it does not parse, OSError when it cannot be read.
    """
    try:
        return text_format.Parse(path.read_bytes(), message)
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise invalid(f"Invalid protobuf file: '{path}'") from error


def _file(package: str, messages: dict[str, tuple[tuple[str, int, int | str], ...]], imported: str) -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name=f"{package}/embedded.proto", package=package, syntax="proto3", dependency=[imported]
    )
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind in fields:
            field = message.field.add(name=field_name, number=number)
            repeated = field_name in _REPEATED
            field.label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            if isinstance(kind, str):
                field.type, field.type_name = field.TYPE_MESSAGE, kind
            else:
                field.type = kind  # type: ignore[assignment]  # the stub wants the enum, the table holds its numbers
    return file
