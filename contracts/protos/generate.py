"""Compile the protos to one descriptor set: `python -m contracts.protos.generate`; `--check` only compares.

A descriptor set instead of protoc's Python modules, because those register in the process-wide default pool, where
the official packages register the same names (contracts.descriptors).
"""

import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

from contracts.descriptors import DESCRIPTOR_SET

HERE = Path(__file__).parent
TARGET = HERE / DESCRIPTOR_SET
SOURCES = ("serving.proto", "inference.proto")


def compile_protos() -> bytes:
    """Return a serialized FileDescriptorSet of our protos and what they import. Raises RuntimeError."""
    well_known = resources.files("grpc_tools") / "_proto"
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "set.binpb")
        arguments = ["protoc", f"-I{HERE}", f"-I{well_known}", "--include_imports", f"--descriptor_set_out={out}"]
        if protoc.main([*arguments, *SOURCES]) != 0:
            raise RuntimeError("protoc refused the protos; its message is above")
        return out.read_bytes()


def main() -> int:
    compiled = compile_protos()
    if "--check" not in sys.argv[1:]:
        TARGET.write_bytes(compiled)
        return 0
    if TARGET.exists() and TARGET.read_bytes() == compiled:
        return 0
    sys.stderr.write(f"{TARGET.name} is not what the protos say: run python -m contracts.protos.generate\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
