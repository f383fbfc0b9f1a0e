"""REST routing: one table, request line to route or error."""

import pytest

from workers.tf.embedded.faults import Fault
from workers.tf.embedded.lookup import ModelRequest
from workers.tf.embedded.rest_routes import Route, Verb, is_api, parse_route

STATUS, METADATA = Verb.STATUS, Verb.METADATA


@pytest.mark.parametrize(
    ("target", "verb", "request_"),
    [
        ("/v1/models/m", STATUS, ModelRequest("m")),
        ("/V1/Models/m/Versions/5", STATUS, ModelRequest("m", version=5)),
        ("/v1/models/m/versions/005", STATUS, ModelRequest("m", version=5)),
        ("/v1/models/m/labels/a%2Fb", STATUS, ModelRequest("m", label="a/b")),
        ("/v1/models/a%3Ab", STATUS, ModelRequest("a:b")),
        ("/v1/models/m?x=1", STATUS, ModelRequest("m?x=1")),
        ("/v1/models/m/metadata", METADATA, ModelRequest("m")),
        ("/v1/models/m/METADATA", STATUS, ModelRequest("m")),
        ("/v1/models/m/versions/2/metadata", METADATA, ModelRequest("m", version=2)),
        ("/v1/models/metadata", STATUS, ModelRequest("metadata")),
    ],
)
def test_get(target: str, verb: Verb, request_: ModelRequest) -> None:
    assert parse_route("GET", target) == Route(verb, request_)


@pytest.mark.parametrize(
    ("target", "verb", "request_"),
    [
        ("/v1/models/m:predict", Verb.PREDICT, ModelRequest("m")),
        ("/V1/MODELS/m/Versions/5:classify", Verb.CLASSIFY, ModelRequest("m", version=5)),
        ("/v1/models/m/labels/b%3A:regress", Verb.REGRESS, ModelRequest("m", label="b:")),
    ],
)
def test_post(target: str, verb: Verb, request_: ModelRequest) -> None:
    assert parse_route("POST", target) == Route(verb, request_)


@pytest.mark.parametrize(
    ("method", "target"),
    [
        ("GET", "/v1/models/"),
        ("GET", "/v1/models/m/"),
        ("GET", "/v1/models/m/version/5"),
        ("GET", "/v1/models/m/versions/abc"),
        ("GET", "/v1/models/m/versions/-1"),
        ("GET", "/v1/models/m/versions/٣"),
        ("GET", "/v1/models/m/versions/5?x=1"),
        ("GET", "/v1/models/m/versions/5/labels/x"),
        ("GET", "/v1/models/m:predict"),
        ("GET", "/v1/"),
        ("POST", "/v1/models/m/metadata"),
        ("POST", "/v1/models/m:PREDICT"),
        ("POST", "/v1/models/m:predict?x=1"),
        ("POST", "/v1/models/m:predict/"),
        ("POST", "/v1/models/m:guess"),
        ("POST", "/v1/models/m"),
        ("PUT", "/v1/models/m"),
        ("HEAD", "/v1/models/m"),
    ],
)
def test_everything_else_is_malformed(method: str, target: str) -> None:
    with pytest.raises(Fault) as caught:
        parse_route(method, target)
    assert str(caught.value) == f"INVALID_ARGUMENT: Malformed request: {method} {target}"


def test_a_nameless_model_and_a_version_too_large() -> None:
    with pytest.raises(Fault, match=r"Missing model name in request\."):
        parse_route("GET", "/v1/models")
    with pytest.raises(Fault, match=r"Failed to convert version: 9223372036854775808 to numeric\."):
        parse_route("GET", "/v1/models/m/versions/9223372036854775808")


def test_only_v1_is_the_api() -> None:
    assert is_api("/v1/models/m")
    assert is_api("/v1/\n")
    assert not is_api("/v1")
    assert not is_api("/v2/models/m")
