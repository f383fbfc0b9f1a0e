"""The gRPC server with every service."""

from contracts.descriptors import Package
from gateway.composition.core_parts import CoreParts
from gateway.composition.dialect_parts import DialectParts
from gateway.grpc_port import GrpcPort
from gateway.grpc_server import GrpcServer
from gateway.protocols.rpc.oip_service import InferenceService
from gateway.protocols.rpc.services import make_services
from gateway.protocols.rpc.tf_service import TensorFlowServices
from gateway.settings import Settings


def make_grpc(settings: Settings, core: CoreParts, dialects: DialectParts, is_port_shared: bool) -> GrpcServer:
    """The server, not started."""
    conversation, catalogue = dialects.conversation, dialects.catalogue
    inference = InferenceService(
        Package(dialects.pool, "inference"), conversation, catalogue, dialects.model_repository, dialects.large
    )
    signatures = dialects.saved_models.signatures
    tensorflow = TensorFlowServices(dialects.tensorflow, conversation, core.router, catalogue, signatures)
    services = make_services(dialects.pool, inference, tensorflow, catalogue, core.router)
    port = GrpcPort(settings.host, settings.grpc_port, is_shared=is_port_shared)
    # Renewed twice in the time of a notice, every connection has left before its end.
    return GrpcServer(port, settings.grpc_message_limit_bytes, services, settings.stop_notice_s / 2)
