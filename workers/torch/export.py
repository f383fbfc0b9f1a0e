"""Make the TorchServe archive of a version, and ask the archive itself for the golden outputs."""

import importlib.util
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import numpy as np
import safetensors.numpy
from model_archiver import ModelArchiver, ModelArchiverConfig
from numpy.typing import NDArray
from ts.context import Context, RequestProcessor

from contracts.manifest import BadDocument, encode_document
from workers.canonical import BadWeights, read_weights
from workers.exports import ExportOrder

HERE = Path(__file__).parent


class BrokenArchive(Exception):
    """The archive just made does not answer as it must."""


def archive(order: ExportOrder, scratch: Path) -> Path:
    """Write `<model>.mar` into the staged directory. Raises BadWeights, OSError."""
    read_weights(order.weights)
    contents = scratch / "contents"
    contents.mkdir()
    shutil.copy(HERE / "handler.py", contents)
    shutil.copy(HERE / "model.py", contents)
    shutil.copyfile(order.weights, contents / "weights.safetensors")
    (contents / "signature.json").write_bytes(encode_document(order.model.signature))
    extras = ("model.py", "weights.safetensors", "signature.json")
    ModelArchiver.generate_model_archive(
        ModelArchiverConfig(
            model_name=order.model.model,
            version=str(order.version),
            handler=str(contents / "handler.py"),
            extra_files=",".join(str(contents / name) for name in extras),
            export_path=str(order.out),
        )
    )
    return order.out / f"{order.model.model}.mar"


def outputs_of(path: Path, inputs: Mapping[str, NDArray[np.generic]], scratch: Path) -> dict[str, NDArray[np.generic]]:
    """Unpack the archive, load its handler from there and let it answer as TorchServe would. Raises BrokenArchive."""
    unpacked = scratch / "unpacked"
    with zipfile.ZipFile(path) as file:
        file.extractall(unpacked)
    context = Context(path.stem, str(unpacked), None, batch_size=1, gpu=None, mms_version="")
    context.request_processor = [RequestProcessor({})]
    handler = _load_module(unpacked / "handler.py").Handler()
    handler.initialize(context)
    (answer,) = handler.handle([{"body": bytearray(safetensors.numpy.save(dict(inputs)))}], context)
    status, phrase = context.get_response_status(0)
    if status != 200:
        raise BrokenArchive(f"{path.name} answers the golden inputs with {status} {phrase}: {answer.decode()}")
    return dict(safetensors.numpy.load(answer))


def export(order: ExportOrder) -> None:
    """Make the archive and write its golden outputs. Raises BadWeights, BrokenArchive, OSError."""
    with tempfile.TemporaryDirectory(prefix="twinserve-export-") as name:
        scratch = Path(name)
        # The archiver gathers its files in <temporary folder>/<model>, where two exports at once would collide.
        tempfile.tempdir = name
        os.environ["TMPDIR"] = name
        made = archive(order, scratch)
        order.write_golden_outputs(outputs_of(made, order.read_golden(), scratch))


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
