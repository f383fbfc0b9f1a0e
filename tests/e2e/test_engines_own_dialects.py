"""Clients of the engines themselves, sent to the gateway's port instead: the same answers, codes and messages."""

import json
from typing import Any

import numpy as np
import pytest
import requests
from safetensors import numpy as blobs

from tests.platform_process import Platform, wait_until
from tests.rest_cases import CASES, RestCase
from twinserve.digits import golden_digits

pytestmark = [pytest.mark.engines, pytest.mark.only_on("up", "engines in containers are out of a client's reach")]

CUT = 499  # what the gateway leaves of a longer message, before its ellipsis


def ask(url: str, case: RestCase, headers: dict[str, str] | None = None) -> tuple[int, Any]:
    row = golden_digits(1)[0][0].round(2).tolist()
    body = case.body
    if isinstance(body, bytes):
        content = body.replace(b"ROW", json.dumps([row]).encode())
    else:
        content = b"" if body is None else json.dumps(body("images", row)).encode()
    target = url + case.target.replace("{model}", "mnist")
    response = requests.request(case.method, target, data=content, headers=headers, timeout=60)
    return response.status_code, response.json()


@pytest.fixture(scope="module", autouse=True)
def _settled(platform: Platform) -> None:
    """The engines know of a version before the gateway does."""
    wait_until(platform.has_settled, 60, "all versions are loaded and warmed")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_tensorflow_servings_rest(platform: Platform, case: RestCase) -> None:
    engine_status, engine_told = ask(f"http://127.0.0.1:{platform.ports.tfserving_rest}", case)
    status, told = ask(platform.url, case, {"X-Engine": "tfserving"})
    assert engine_status == case.status, engine_told
    assert status == engine_status, told
    assert comparable(told) == comparable(engine_told)


def comparable(told: Any) -> Any:
    """Floats to the digits that do not depend on who else is in a batch; messages as far as the gateway tells them."""
    if "error" in told:
        return told["error"][:CUT]
    if "model_version_status" in told:  # the engine remembers what it unloaded long ago
        return [entry for entry in told["model_version_status"] if entry["state"] == "AVAILABLE"]
    return {key: np.round(value, 3).tolist() if isinstance(value, list) else value for key, value in told.items()}


def torchserve_headers(platform: Platform) -> dict[str, str]:
    keys = json.loads((platform.home / "torchserve" / "key_file.json").read_text())
    return {"Authorization": f"Bearer {keys['inference']['key']}"}


def both(platform: Platform, path: str, **request: Any) -> tuple[requests.Response, requests.Response]:
    """The gateway's answer, and TorchServe's."""
    headers = {"Content-Type": "application/octet-stream"}
    engine = f"http://127.0.0.1:{platform.ports.torchserve_inference}"
    return (
        requests.post(platform.url + path, headers=headers | {"X-Engine": "torchserve"}, timeout=60, **request),
        requests.post(engine + path, headers=headers | torchserve_headers(platform), timeout=60, **request),
    )


@pytest.mark.parametrize("path", ["/predictions/mnist/1", "/predictions/mnist/2"])
@pytest.mark.parametrize("rows", [0, 1, 5, 70])
def test_torchserves_predictions(platform: Platform, path: str, rows: int) -> None:
    """0 rows, and more than the gateway sends at once."""
    images = np.ascontiguousarray(np.resize(golden_digits(8)[0], (rows, 28, 28)), np.float32)
    ours, theirs = both(platform, path, data=blobs.save({"images": images}))
    assert (ours.status_code, ours.headers["content-type"]) == (200, "application/octet-stream"), ours.text
    assert (theirs.status_code, theirs.headers["content-type"]) == (200, "application/octet-stream"), theirs.text
    logits = blobs.load(ours.content)["logits"]
    np.testing.assert_allclose(logits, blobs.load(theirs.content)["logits"], atol=1e-4)
    assert logits.shape == (rows, 10)


@pytest.mark.parametrize(
    ("path", "body", "is_same_message"),
    [
        ("/predictions/nobody", blobs.save({"images": np.zeros((1, 28, 28), np.float32)}), True),
        ("/predictions/mnist/99", blobs.save({"images": np.zeros((1, 28, 28), np.float32)}), True),
        ("/predictions/mnist/2", blobs.save({"images": np.zeros((1, 28, 28), np.float64)}), False),
        ("/predictions/mnist/2", blobs.save({"images": np.zeros((1, 27, 28), np.float32)}), False),
        ("/predictions/mnist/2", blobs.save({"pictures": np.zeros((1, 28, 28), np.float32)}), False),
        ("/predictions/mnist/2", blobs.save({"images": np.zeros((1, 28, 28), np.float32)})[:-1], False),
    ],
    ids=["model", "version", "dtype", "shape", "name", "cut off"],
)
def test_torchserves_errors(platform: Platform, path: str, body: bytes, is_same_message: bool) -> None:
    """Of what does not fit the signature, the gateway has its own words."""
    ours, theirs = (response.json() for response in both(platform, path, data=body))
    assert (ours["code"], ours["type"]) == (theirs["code"], theirs["type"])
    if is_same_message:
        assert ours == theirs


def test_torchserves_ping(platform: Platform) -> None:
    ours = requests.get(f"{platform.url}/ping", timeout=10)
    engine = f"http://127.0.0.1:{platform.ports.torchserve_inference}/ping"
    theirs = requests.get(engine, headers=torchserve_headers(platform), timeout=10)
    assert (ours.status_code, ours.json()) == (theirs.status_code, theirs.json())
