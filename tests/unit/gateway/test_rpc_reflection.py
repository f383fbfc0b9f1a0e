"""What tools learn by server reflection, under both of its names."""

from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.unit.gateway.served import Served

SERVICES = {
    "inference.GRPCInferenceService",
    "tensorflow.serving.PredictionService",
    "tensorflow.serving.ModelService",
    "grpc.health.v1.Health",
    "grpc.reflection.v1alpha.ServerReflection",
}


def test_every_service_is_listed_and_described(served: Served) -> None:
    with grpc.insecure_channel(served.grpc_target) as channel:
        database: Any = ProtoReflectionDescriptorDatabase(channel)
        assert set(database.get_services()) == SERVICES
        pool: Any = DescriptorPool(database)
        infer = pool.FindServiceByName("inference.GRPCInferenceService").methods_by_name
        assert infer["ModelInfer"].input_type.fields_by_name["raw_input_contents"].number == 7
        assert infer["ModelStreamInfer"].client_streaming
        assert infer["ModelStreamInfer"].server_streaming
        for service in SERVICES:
            for method in pool.FindServiceByName(service).methods:
                assert answers(channel, f"/{service}/{method.name}"), f"{service} lists {method.name}"


def answers(channel: grpc.Channel, path: str) -> bool:
    """Whether the server has this call, whatever it says to an empty message."""
    call: Any = channel.stream_stream(path)
    try:
        next(call(iter([b""]), timeout=5))
    except grpc.RpcError as error:
        failed: Any = error
        return bool(failed.code() is not grpc.StatusCode.UNIMPLEMENTED)
    return True


def test_v1_answers_as_v1alpha_does(served: Served) -> None:
    with grpc.insecure_channel(served.grpc_target) as channel:
        ask: Any = channel.stream_stream("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo")
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = list(ask(iter([request.SerializeToString()]), timeout=5))
        response = reflection_pb2.ServerReflectionResponse.FromString(answer)
        assert {service.name for service in response.list_services_response.service} == SERVICES


def test_what_is_not_there_is_not_found(served: Served, tmp_path: Path) -> None:
    with grpc.insecure_channel(served.grpc_target) as channel:
        ask: Any = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")
        request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="no.such.Service")
        [answer] = list(ask(iter([request.SerializeToString()]), timeout=5))
        response = reflection_pb2.ServerReflectionResponse.FromString(answer)
        assert response.error_response.error_code == grpc.StatusCode.NOT_FOUND.value[0]
