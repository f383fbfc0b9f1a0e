"""Make the TorchServe archive of a version, and let the archive itself answer the golden inputs and the test set."""

import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

from model_archiver import ModelArchiver, ModelArchiverConfig
from numpy.typing import NDArray
from ts.context import Context, RequestProcessor

from contracts import blobs
from contracts.exports import ExportReport
from contracts.manifest import BadDocument, encode_document
from workers.canonical import BadWeights, read_weights
from workers.exports import Ask, ExportOrder, Tensors

HERE = Path(__file__).parent
# What a network of somebody else's makes of a handler: TorchScript's own errors, wrong number or kind of outputs.
HANDLER_FAULTS = (RuntimeError, ValueError, TypeError, KeyError, AttributeError, OSError)


class BrokenArchive(Exception):
    """The archive just made does not answer as it must."""


def archive(order: ExportOrder, scratch: Path) -> Path:
    """Write `<model>.mar` into the staged directory. Raises BadWeights, OSError."""
    contents = scratch / "contents"
    contents.mkdir()
    shutil.copy(HERE / "handler.py", contents)
    (contents / "signature.json").write_bytes(encode_document(order.model.signature))
    if order.artifact:
        shutil.copyfile(order.artifact, contents / "model.pt")
    if order.weights:
        read_weights(order.weights)
        shutil.copy(HERE / "model.py", contents)
        shutil.copyfile(order.weights, contents / "weights.safetensors")
    extras = sorted(path for path in contents.iterdir() if path.name != "handler.py")
    ModelArchiver.generate_model_archive(
        ModelArchiverConfig(
            model_name=order.model.model,
            version=str(order.version),
            handler=str(contents / "handler.py"),
            extra_files=",".join(str(path) for path in extras),
            export_path=str(order.out),
            archive_format="zip-store",  # weights do not get smaller, and TorchServe unpacks among its requests
        )
    )
    return order.out / f"{order.model.model}.mar"


def load_archive(path: Path, scratch: Path) -> Ask:
    """Unpack the archive and load its handler from there; it then answers as TorchServe would. Raises BrokenArchive."""
    unpacked = scratch / "unpacked"
    with zipfile.ZipFile(path) as file:
        file.extractall(unpacked)
    context = Context(path.stem, str(unpacked), None, batch_size=1, gpu=None, mms_version="")
    handler = _load_module(unpacked / "handler.py").Handler()

    def ask(inputs: Tensors) -> dict[str, NDArray[Any]]:
        context.request_processor = [RequestProcessor({})]
        blob = blobs.encode(inputs)
        try:
            (answer,) = handler.handle([{"body": bytearray(blob)}], context)
        except HANDLER_FAULTS as error:
            raise BrokenArchive(f"{path.name} does not answer: {type(error).__name__}: {error}") from error
        status, phrase = context.get_response_status(0)
        if status != 200:
            raise BrokenArchive(f"{path.name} answers with {status} {phrase}: {answer.decode()}")
        return blobs.decode(answer)

    try:
        handler.initialize(context)
    except HANDLER_FAULTS as error:
        raise BrokenArchive(f"{path.name} cannot be loaded: {error}") from error
    return ask


def export(order: ExportOrder) -> None:
    """Make the archive and write its answers. Raises BadWeights, BadDocument, BrokenArchive, OSError."""
    with tempfile.TemporaryDirectory(prefix="twinserve-export-") as name:
        scratch = Path(name)
        # The archiver gathers its files in <temporary folder>/<model>, where two exports at once would collide.
        tempfile.tempdir = name
        os.environ["TMPDIR"] = name
        order.answer(load_archive(archive(order, scratch), scratch))
        order.write_report(ExportReport())


def main() -> int:
    """Run the command line; returns the exit code."""
    try:
        export(ExportOrder.from_command_line("workers.torch.export", "Export a version for TorchServe."))
    except (BadDocument, BadWeights, BrokenArchive, OSError) as error:
        sys.stderr.write(f"export for TorchServe failed: {error}\n")
        return 1
    return 0


def _load_module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"archived_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise BrokenArchive(f"{path.name} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
