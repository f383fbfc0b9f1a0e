"""TorchServe's handler: safetensors in, safetensors out.

A copy of this file travels inside every archive and runs in TorchServe's worker, with the archive's directory as its
working directory. It imports the standard library, numpy, torch, safetensors and its siblings in the archive, and
nothing else of ours.

One request's body is one safetensors blob of named input tensors, usually a whole batch that the gateway gathered; the
answer is a blob of named outputs. A request that does not fit the signature is answered 400 on its own and never
disturbs the others of its TorchServe batch. The network is either model.py with weights.safetensors, or TorchScript in
model.pt.
"""

import importlib.util
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.numpy
import safetensors.torch
import torch
from safetensors import SafetensorError

BLOB = "application/octet-stream"
DTYPES = {
    "BOOL": torch.bool,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "FP16": torch.float16,
    "FP32": torch.float32,
    "FP64": torch.float64,
    "BF16": torch.bfloat16,
}

DATATYPES = {dtype: datatype for datatype, dtype in DTYPES.items()}

Tensors = dict[str, torch.Tensor]

MOST_LAYOUTS = 256
LONGEST_REMEMBERED_BYTES = 1024

Part = tuple[str, torch.dtype, torch.Size, int]
"""Name, type and shape of a tensor, and where in a body it begins."""


def refusal(message: str) -> bytes:
    """The body of an answer 400, in the shape of TorchServe's own errors."""
    return json.dumps({"code": 400, "type": "BadRequestException", "message": message}).encode()


def decode_request(row: Mapping[str, object]) -> tuple[Tensors, str]:
    """Decode one request into its tensors, and what is wrong with it ("" when nothing is)."""
    body = row.get("body")
    if not isinstance(body, bytes | bytearray):
        return {}, f"the body must be one safetensors blob sent as {BLOB}"
    try:
        return safetensors.torch.load(bytes(body)), ""
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        return {}, f"the body is not a safetensors blob: {error}"


def encode_answer(tensors: Tensors) -> bytes:
    """The blob of an answer."""
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors.values()):  # numpy has no such dtype
        return safetensors.torch.save(tensors)
    # The numpy writer: a quarter of the torch writer's 40 µs, for the same bytes.
    return safetensors.numpy.save({name: tensor.numpy() for name, tensor in tensors.items()})


def fault(tensors: Tensors, specs: Sequence[Mapping[str, Any]]) -> str:
    """What keeps `tensors` from fitting the signature's inputs; "" when they do."""
    expected = sorted(spec["name"] for spec in specs)
    if sorted(tensors) != expected:
        return f"expected tensors {expected}, got {sorted(tensors)}"
    for spec in specs:
        tensor, shape = tensors[spec["name"]], spec["shape"]
        if tensor.dtype != DTYPES[spec["datatype"]]:
            return f"{spec['name']}: expected {spec['datatype']}, got {DATATYPES.get(tensor.dtype, tensor.dtype)}"
        pairs = zip(shape, tensor.shape, strict=False)
        if len(shape) != tensor.ndim or any(want not in (-1, got) for want, got in pairs):
            return f"{spec['name']}: expected shape {shape}, got {list(tensor.shape)}"
    rows = {spec["name"]: len(tensors[spec["name"]]) for spec in specs if spec["shape"][:1] == [-1]}
    if len(set(rows.values())) > 1:
        return f"inputs differ in their number of rows: {rows}"
    return ""


def header_end(blob: bytes | bytearray) -> int:
    """Where the header of a blob ends and its tensors begin: the header's length comes first, in eight bytes."""
    return 8 + int.from_bytes(blob[:8], "little")


def lay_out(body: bytearray, tensors: Tensors) -> tuple[Part, ...] | None:
    """Where the tensors that were read from `body` lie in it; None where one is empty or not aligned."""
    end = header_end(body)
    entries = json.loads(body[8:end])
    begins = {name: end + entries[name]["data_offsets"][0] for name in tensors}
    if any(tensor.nbytes == 0 or begins[name] % tensor.element_size() for name, tensor in tensors.items()):
        return None
    return tuple((name, tensor.dtype, tensor.shape, begins[name]) for name, tensor in tensors.items())


class Handler:
    """Loads the network of its archive and answers batches of requests with it.

    What the safetensors package says of a header is remembered, since a model's are few and come again and again: of a
    request's where its tensors lie, once they fit the signature; of an answer's, the header itself. TorchServe takes a
    module with one class only, so this is done here.
    """

    def initialize(self, context: Any) -> None:
        """Called once by TorchServe. Raises OSError or ValueError when the archive is not whole."""
        # The worker logs a line a request at INFO, and every line is a message to the JVM.
        logging.getLogger().setLevel(logging.WARNING)
        properties = context.system_properties
        folder = Path(properties["model_dir"])
        signature = json.loads((folder / "signature.json").read_text("utf-8"))
        self._inputs: list[dict[str, Any]] = signature["inputs"]
        self._layouts: dict[tuple[bytes, int], tuple[Part, ...]] = {}
        self._headers: dict[tuple[tuple[str, torch.dtype, torch.Size], ...], tuple[bytes, list[str]]] = {}
        self._output_names = [spec["name"] for spec in signature["outputs"]]
        # Only tensors whose rows are alike can be joined into one batch, and only outputs with rows be split again.
        self._is_stackable = all(s["shape"][:1] == [-1] and -1 not in s["shape"][1:] for s in self._inputs)
        self._is_stackable &= all(spec["shape"][:1] == [-1] for spec in signature["outputs"])
        gpu_id = properties.get("gpu_id")
        has_gpu = gpu_id is not None and torch.cuda.is_available()
        self._device = torch.device(f"cuda:{gpu_id}" if has_gpu else "cpu")
        self._network = load_network(folder, self._device)

    def handle(self, data: Sequence[Mapping[str, object]], context: Any) -> list[bytes]:
        """Answer each request of `data`: a blob, or status 400 and a JSON message saying what was expected."""
        answers = [b""] * len(data)
        accepted: dict[int, Tensors] = {}
        for index, row in enumerate(data):
            tensors, message = self._read(row)
            if message:
                # Only ASCII without line ends may enter the status line; the message itself goes into the body.
                context.set_response_status(400, "Bad Request", index)
                context.set_response_content_type(index, "application/json")
                answers[index] = refusal(message)
            else:
                context.set_response_content_type(index, BLOB)
                accepted[index] = tensors
        outputs = self._infer(list(accepted.values()))
        for index, tensors in zip(accepted, outputs, strict=True):
            answers[index] = self._write(tensors)
        return answers

    def _read(self, row: Mapping[str, object]) -> tuple[Tensors, str]:
        """The tensors of one request, views of its body if they can be, and what is wrong with it ("" for nothing)."""
        body = row.get("body")
        if not isinstance(body, bytearray) or (end := header_end(body)) > LONGEST_REMEMBERED_BYTES:
            return self._read_anew(row)
        key = bytes(body[:end]), len(body)
        if (layout := self._layouts.get(key)) is not None:
            return {
                name: torch.frombuffer(body, dtype=dtype, count=shape.numel(), offset=begin).view(shape)
                for name, dtype, shape, begin in layout
            }, ""
        tensors, message = self._read_anew(row)
        if not message and (layout := lay_out(body, tensors)) is not None:
            if len(self._layouts) >= MOST_LAYOUTS:
                self._layouts.clear()
            self._layouts[key] = layout
        return tensors, message

    def _read_anew(self, row: Mapping[str, object]) -> tuple[Tensors, str]:
        tensors, message = decode_request(row)
        return tensors, message or fault(tensors, self._inputs)

    def _write(self, tensors: Tensors) -> bytes:
        """The blob of an answer."""
        key = tuple([(name, tensor.dtype, tensor.shape) for name, tensor in tensors.items()])
        if (known := self._headers.get(key)) is not None:
            header, order = known
            pieces = [tensors[name].view(-1).view(torch.uint8).numpy().data for name in order]
            return b"".join((header, *pieces))
        blob = encode_answer(tensors)
        header = blob[: header_end(blob)]
        if len(self._headers) >= MOST_LAYOUTS:
            self._headers.clear()
        self._headers[key] = header, list(json.loads(header[8:]))
        return blob

    def _infer(self, requests: Sequence[Tensors]) -> list[Tensors]:
        """Outputs for each request, from one forward pass where the requests can be joined."""
        if len(requests) < 2 or not self._is_stackable:
            return [self._forward(tensors) for tensors in requests]
        names = [spec["name"] for spec in self._inputs]
        joined = self._forward({name: torch.cat([tensors[name] for tensors in requests]) for name in names})
        rows = [len(tensors[names[0]]) for tensors in requests]
        parts = {name: tensor.split(rows) for name, tensor in joined.items()}
        return [{name: part[index].contiguous() for name, part in parts.items()} for index in range(len(requests))]

    def _forward(self, tensors: Tensors) -> Tensors:
        with torch.inference_mode():
            inputs = [tensors[spec["name"]].to(self._device) for spec in self._inputs]
            result = self._network(*inputs)
            if not isinstance(result, dict):
                outputs = result if isinstance(result, tuple | list) else (result,)
                result = dict(zip(self._output_names, outputs, strict=True))
            # The writer takes bytes as they lie: a transposed view must be put in the order of its own shape.
            return {name: result[name].cpu().contiguous() for name in self._output_names}


def load_network(folder: Path, device: torch.device) -> torch.nn.Module:
    """The network of an archive, ready to answer. It takes the inputs in the signature's order.

    Its answer is a tensor, a tuple in the order of the signature's outputs, or a dict by their names. Raises OSError,
    ValueError, RuntimeError.
    """
    if (folder / "model.pt").is_file() and not (folder / "model.py").exists():
        script: torch.nn.Module = torch.jit.load(folder / "model.pt", map_location=device)
        return script.eval()
    stored = safetensors.torch.load_file(folder / "weights.safetensors")
    weights = {name: tensor.float() for name, tensor in stored.items()}
    # Without numbers of its own, which are drawn in half of the time that all of loading takes; the stored ones follow.
    with torch.device("meta"):
        network = _network_of(folder)
    if next(network.buffers(), None) is None:
        network.load_state_dict(weights, assign=True)
    else:  # buffers may be made in the constructor, and be of another type than what is stored
        network = _network_of(folder)
        network.load_state_dict(weights)
    return network.eval().to(device)


def _network_of(folder: Path) -> torch.nn.Module:
    """The network that the archive's model.py describes, by path: `model` alone could name another module."""
    spec = importlib.util.spec_from_file_location("archived_model", folder / "model.py")
    if spec is None or spec.loader is None:
        raise ValueError(f"{folder} holds no loadable model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    network: torch.nn.Module = module.Network()
    return network
