"""The use cases classify, regress and multi-inference: message in, message out, Fault when it cannot be."""

from collections.abc import Sequence
from typing import Any

from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import classification_pb2, inference_pb2, model_pb2, regression_pb2

from workers.tf.embedded.classification import (
    CLASSIFY,
    INPUTS,
    METHODS,
    REGRESS,
    Method,
    encode_result,
    output_aliases,
    serialise_examples,
)
from workers.tf.embedded.deadlines import Deadline
from workers.tf.embedded.faults import Code, Fault, invalid
from workers.tf.embedded.lookup import Lookup
from workers.tf.embedded.metrics import Metrics
from workers.tf.embedded.prediction import Execution, Task, model_request, named_request
from workers.tf.embedded.savedmodel import Array, Model
from workers.tf.embedded.signatures import DEFAULT


class ExampleInference:
    """Answers about tf.Examples. `checks_method_name`: a signature must name the method it is asked for."""

    def __init__(
        self, lookup: Lookup[Model], execution: Execution, metrics: Metrics, checks_method_name: bool = False
    ) -> None:
        self._lookup = lookup
        self._execution = execution
        self._metrics = metrics
        self._checks_method_name = checks_method_name

    def classify(self, request: Any, deadline: Deadline) -> Any:
        """ClassificationRequest to ClassificationResponse. Raises Fault."""
        return self._one(CLASSIFY, request, classification_pb2.ClassificationResponse(), deadline)

    def regress(self, request: Any, deadline: Deadline) -> Any:
        """RegressionRequest to RegressionResponse. Raises Fault."""
        return self._one(REGRESS, request, regression_pb2.RegressionResponse(), deadline)

    def multi_infer(self, request: Any, deadline: Deadline) -> Any:
        """MultiInferenceRequest to MultiInferenceResponse; the version is that of the first task. Raises Fault."""
        spec = request.tasks[0].model_spec if request.tasks else model_pb2.ModelSpec()
        with self._lookup.lease(named_request(spec)) as leased:
            response = self.multi_infer_with(leased.servable, request, deadline)
            for result in response.results:
                result.model_spec.version.value = leased.version
        return response

    def run_with(self, method: Method, model: Model, request: Any, deadline: Deadline) -> Any:
        """The result for a ClassificationRequest or RegressionRequest, from a version already held. Raises Fault."""
        name = request.model_spec.signature_name or DEFAULT
        signature = model.signatures.get(name)
        if signature is None:
            raise invalid(f"No signature was found with the name: {name}")
        aliases = output_aliases(method, signature, self._checks_method_name)
        examples = serialise_examples(request.input)
        task = Task(request.model_spec.name, model, signature, deadline, method.api)
        outputs = self._run(task, examples, aliases)
        return encode_result(method, len(examples), dict(zip(aliases, outputs, strict=True)))

    def multi_infer_with(self, model: Model, request: Any, deadline: Deadline) -> Any:
        """MultiInferenceResponse from a version already held; it names none. Raises Fault."""
        tasks = self._check_tasks(model, request.tasks)
        examples = serialise_examples(request.input)
        response: Any = inference_pb2.MultiInferenceResponse()
        if not tasks:
            return response
        # One run answers all tasks: each input tensor is fed the same examples. TF1 exports share one among signatures,
        # TF2 exports give every signature its own.
        merged = meta_graph_pb2.SignatureDef()
        for index, (name, _, aliases) in enumerate(tasks):
            signature = model.signatures[name]
            info = signature.inputs[INPUTS]
            merged.inputs[info.name].CopyFrom(info)
            for alias in aliases:
                merged.outputs[f"{index}/{alias}"].CopyFrom(signature.outputs[alias])
        wanted = sorted(merged.outputs)
        work = Task(request.tasks[0].model_spec.name, model, merged, deadline, "MultiInference")
        outputs = dict(zip(wanted, self._run(work, examples, wanted), strict=True))
        for index, (name, method, aliases) in enumerate(tasks):
            result = response.results.add()
            result.model_spec.name = work.name
            result.model_spec.signature_name = name
            own = {alias: outputs[f"{index}/{alias}"] for alias in aliases}
            getattr(result, method.result).CopyFrom(encode_result(method, len(examples), own))
        return response

    def _one(self, method: Method, request: Any, response: Any, deadline: Deadline) -> Any:
        with self._lookup.lease(model_request(request)) as leased:
            response.result.CopyFrom(self.run_with(method, leased.servable, request, deadline))
            response.model_spec.version.value = leased.version
        response.model_spec.name = request.model_spec.name
        response.model_spec.signature_name = request.model_spec.signature_name or DEFAULT
        return response

    def _run(self, task: Task, examples: Array, aliases: Sequence[str]) -> list[Array]:
        outputs = self._execution.run(task, dict.fromkeys(task.signature.inputs, examples), aliases)
        self._metrics.count_examples(task.name, len(examples))
        return outputs

    def _check_tasks(self, model: Model, tasks: Sequence[Any]) -> list[tuple[str, Method, list[str]]]:
        found: list[tuple[str, Method, list[str]]] = []
        seen: set[str] = set()
        for task in tasks:
            spec = task.model_spec
            if not spec.name:
                raise invalid("Found ModelSpec with an empty model name.")
            if spec.name != tasks[0].model_spec.name:
                raise invalid("All ModelSpecs in a MultiInferenceRequest must access the same model name.")
            name = spec.signature_name or DEFAULT
            if name in seen:
                raise invalid(f"Duplicate evaluation of signature: {name}")
            seen.add(name)
            signature = model.signatures.get(name)
            if signature is None:
                raise invalid(f"Requested signature not found in model graph: {name}")
            method = METHODS.get(task.method_name)
            if method is None:
                raise Fault(Code.UNIMPLEMENTED, f"Unsupported signature method_name: {task.method_name}")
            found.append((name, method, output_aliases(method, signature, self._checks_method_name)))
        return found
