"""GetModelStatus, for both dialects."""

from typing import Any

from tensorflow_serving.apis import get_model_status_pb2

from workers.tf.embedded.faults import Code, Fault
from workers.tf.embedded.lookup import ModelRequest
from workers.tf.embedded.versions import VersionStatus


def encode_status(request: ModelRequest, statuses: list[VersionStatus]) -> Any:
    """The GetModelStatusResponse about `statuses`, kept in their order (highest version first).

    A version asked for is the only one told of; a label is ignored, as the original does. Raises Fault(NOT_FOUND)
    when there is nothing to tell.
    """
    if request.version is not None:
        statuses = [status for status in statuses if status.version == request.version]
    if not statuses:
        what = "any versions" if request.version is None else f"version {request.version}"
        raise Fault(Code.NOT_FOUND, f"Could not find {what} of model {request.model}")
    response: Any = get_model_status_pb2.GetModelStatusResponse()
    for status in statuses:
        entry = response.model_version_status.add(version=status.version, state=int(status.state))
        entry.status.error_code = int(Code.OK if status.error is None else status.error.code)
        entry.status.error_message = "" if status.error is None else status.error.message
    return response
