"""The network inside a TorchServe archive, without TorchServe: the very weights and code that it serves."""

import importlib.util
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch


def load_network(archive: Path) -> Any:
    """A torch module in evaluation mode, images [N,28,28] to logits [N,10]. Raises OSError, KeyError, ValueError."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with zipfile.ZipFile(archive) as files:
            for member in ("model.py", "weights.safetensors"):
                files.extract(member, folder)
        spec = importlib.util.spec_from_file_location("archived_model", folder / "model.py")
        if spec is None or spec.loader is None:
            raise ValueError(f"{archive} holds no loadable model.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        network = module.Network()
        stored = safetensors.torch.load_file(folder / "weights.safetensors")
    network.load_state_dict({name: tensor.float() for name, tensor in stored.items()})
    return network.eval()
