"""DESIGN's arrows: who may import whom. Every import statement of the tree is held against one table."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
OURS = {"contracts", "gateway", "workers", "twinserve", "loadtest"}
FRAMEWORKS = {"torch", "tensorflow", "keras", "tensorflow_serving", "ts", "torchserve"}

# The longest matching prefix rules. `None`: any third-party package but the frameworks; a set: these only.
ALLOWED: dict[str, tuple[set[str], set[str] | None]] = {
    # package: (our packages it may import beside itself, third-party packages it may import)
    "contracts": (set(), {"msgspec", "google", "grpc_tools"}),
    "contracts.bfloat16": (set(), {"numpy"}),
    "contracts.blobs": ({"contracts.bfloat16"}, {"numpy", "safetensors"}),
    "contracts.byte_strings": (set(), {"numpy"}),
    "contracts.golden": ({"contracts"}, {"numpy"}),
    "contracts.oip_bodies": ({"contracts"}, {"numpy"}),
    "contracts.tfserving_rest": (set(), {"numpy"}),
    "gateway.core": (set(), {"numpy"}),
    "gateway.protocols": ({"gateway.core"}, {"numpy", "msgspec", "orjson", "fastapi", "starlette", "PIL"}),
    "gateway.protocols.grpc_status": ({"gateway.core"}, {"grpc"}),
    "gateway.protocols.tfserving_rest": (
        {"gateway.core", "gateway.protocols", "contracts.tfserving_rest"},
        {"google", "starlette"},
    ),
    "gateway.protocols.raw_tensor": ({"gateway.core", "contracts"}, {"numpy"}),
    "gateway.protocols.torchserve": (
        {"gateway.core", "gateway.protocols", "contracts"},
        {"numpy", "msgspec", "orjson", "starlette"},
    ),
    "gateway.protocols.rpc": (
        {"gateway.core", "gateway.protocols", "contracts"},
        {"numpy", "grpc", "google", "grpc_health", "grpc_reflection"},
    ),
    "gateway.engines": (
        {"gateway.core", "contracts"},
        {"numpy", "msgspec", "grpc", "aiohttp", "httptools"},
    ),
    "gateway.accounts": (
        {"gateway.core", "gateway.protocols", "gateway.settings"},
        {"fastapi", "opentelemetry", "orjson"},
    ),
    "gateway.repository": ({"gateway.core", "contracts"}, {"msgspec"}),
    "gateway.peers": ({"gateway.core", "contracts"}, {"msgspec"}),
    "gateway.measured_file": (set(), {"msgspec"}),
    "gateway.engine_figures": (
        {"gateway.engines", "gateway.measured_file", "gateway.metrics", "gateway.settings", "contracts"},
        {"prometheus_client"},
    ),
    "gateway.grpc_port": (set(), set()),
    "gateway.grpc_server": ({"gateway.grpc_port"}, {"grpc"}),
    "gateway.saved_models": ({"gateway.core", "gateway.protocols.tfserving_rules", "contracts"}, {"google"}),
    "gateway.platform_state": ({"gateway.core"}, {"msgspec"}),
    "gateway.metrics": (
        {"gateway.core", "gateway.metric_sums", "gateway.beginnings", "gateway.endpoint_metrics"},
        {"numpy", "prometheus_client"},
    ),
    "gateway.metrics_folder": (set(), {"prometheus_client"}),
    "gateway.endpoint_metrics": ({"gateway.core"}, {"prometheus_client"}),
    "gateway.endpoint_sources": ({"gateway.core", "gateway.engines", "gateway.settings"}, set()),
    "gateway.beginnings": ({"gateway.core", "gateway.metric_sums"}, set()),
    "gateway.metric_sums": (set(), {"numpy", "prometheus_client"}),
    "gateway.admin": (
        {"gateway.core", "gateway.platform_state", "gateway.protocols"},
        {"fastapi", "starlette", "msgspec"},
    ),
    "gateway": ({"gateway", "contracts"}, None),
    "workers.torch": (
        {"workers.mnist", "workers.canonical", "workers.exports", "workers.factors", "workers.ranker", "contracts"},
        None,
    ),
    "workers.tf": (
        {"workers.mnist", "workers.canonical", "workers.exports", "workers.factors", "workers.ranker", "contracts"},
        None,
    ),
    "workers": ({"contracts"}, None),
    "twinserve": ({"contracts"}, None),
    "loadtest": ({"contracts"}, None),
}
OWN_FRAMEWORKS = {
    "workers.torch": {"torch", "ts"},
    "workers.tf": {"tensorflow", "keras", "tensorflow_serving"},
    # What the gateway is measured against, in processes of their own.
    "loadtest.bench.in_process_server": {"torch"},
    "loadtest.bench.raw_forward": {"torch", "tensorflow"},
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(source: str) -> Iterator[str]:
    """Every module an import statement names, wherever it stands (inside functions too)."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where an arrow goes"
            assert node.module
            yield node.module
            if node.module in OURS | {"gateway.core"}:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_within(module: str, packages: set[str]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def violations(module: str, source: str) -> list[str]:
    rule = max((prefix for prefix in ALLOWED if is_within(module, {prefix})), key=len)
    ours, third_party = ALLOWED[rule]
    found = []
    for name in imported(source):
        top = name.partition(".")[0]
        if top in sys.stdlib_module_names:
            continue
        if top in OURS:
            ok = is_within(name, ours | {rule}) or (name == module.partition(".")[0] and "." not in rule)
        elif top in FRAMEWORKS:
            ok = top in next((own for prefix, own in OWN_FRAMEWORKS.items() if is_within(module, {prefix})), set())
        else:
            ok = third_party is None or top in third_party
        if not ok:
            found.append(f"{module} imports {name}, which {rule} may not")
    return found


def test_every_import_follows_the_arrows() -> None:
    files = [path for package in OURS for path in (ROOT / package).rglob("*.py")]
    assert len(files) > 40, "the walk found the tree"
    # The handler lives inside the TorchServe archive, where its siblings are top-level modules.
    found = [
        problem
        for path in files
        for problem in violations(module_name(path), path.read_text())
        if not (path.name == "handler.py" and "imports model," in problem)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("module", "statement"),
    [
        ("gateway.core.router", "import fastapi"),
        ("gateway.core.router", "from prometheus_client import Counter"),
        ("gateway.core.router", "from gateway.engines import fake"),
        ("gateway.engines.tfserving", "import tensorflow_serving.apis"),
        ("gateway.engines.tfserving", "from gateway.protocols.oip import decode_request"),
        ("gateway.protocols.oip", "from gateway.metrics import Metrics"),
        ("gateway.protocols.conversation", "import grpc"),
        ("gateway.protocols.rpc.calls", "from starlette.requests import Request"),
        ("gateway.app", "import workers.mnist"),
        ("gateway.app", "def late():\n    import torch"),
        ("workers.torch.train", "import tensorflow"),
        ("workers.tf.export", "from workers.torch.model import Network"),
        ("workers.tf.export", "from gateway.core import tensors"),
        ("contracts.layout", "from gateway.settings import Settings"),
        ("gateway.app", "import workers"),
        ("gateway.app", "from workers import torch"),
        ("workers.torch.train", "import gateway"),
        ("gateway.core.router", "import twinserve"),
        ("gateway.core.router", "import contracts"),
        ("twinserve.up", "from workers.torch.launcher import main"),
    ],
)
def test_a_forbidden_import_is_found(module: str, statement: str) -> None:
    assert violations(module, statement)
