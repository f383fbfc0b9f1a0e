"""REST routing: one table, request line to route or error."""

import pytest

from contracts.tfserving_rest.refusals import Refusal
from contracts.tfserving_rest.routes import Route, Verb, is_api, parse_route

STATUS, METADATA = Verb.STATUS, Verb.METADATA


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/v1/models/m", Route(STATUS, "m")),
        ("/V1/Models/m/Versions/5", Route(STATUS, "m", version=5)),
        ("/v1/models/m/versions/005", Route(STATUS, "m", version=5)),
        ("/v1/models/m/labels/a%2Fb", Route(STATUS, "m", label="a/b")),
        ("/v1/models/a%3Ab", Route(STATUS, "a:b")),
        ("/v1/models/m?x=1", Route(STATUS, "m?x=1")),
        ("/v1/models/m/metadata", Route(METADATA, "m")),
        ("/v1/models/m/METADATA", Route(STATUS, "m")),
        ("/v1/models/m/versions/2/metadata", Route(METADATA, "m", version=2)),
        ("/v1/models/metadata", Route(STATUS, "metadata")),
    ],
)
def test_get(target: str, route: Route) -> None:
    assert parse_route("GET", target) == route


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/v1/models/m:predict", Route(Verb.PREDICT, "m")),
        ("/V1/MODELS/m/Versions/5:classify", Route(Verb.CLASSIFY, "m", version=5)),
        ("/v1/models/m/labels/b%3A:regress", Route(Verb.REGRESS, "m", label="b:")),
    ],
)
def test_post(target: str, route: Route) -> None:
    assert parse_route("POST", target) == route


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
    with pytest.raises(Refusal) as caught:
        parse_route(method, target)
    assert str(caught.value) == f"INVALID_ARGUMENT: Malformed request: {method} {target}"


def test_a_nameless_model_and_a_version_too_large() -> None:
    with pytest.raises(Refusal, match=r"Missing model name in request\."):
        parse_route("GET", "/v1/models")
    with pytest.raises(Refusal, match=r"Failed to convert version: 9223372036854775808 to numeric\."):
        parse_route("GET", "/v1/models/m/versions/9223372036854775808")


def test_only_v1_is_the_api() -> None:
    assert is_api("/v1/models/m")
    assert is_api("/v1/\n")
    assert not is_api("/v1")
    assert not is_api("/v2/models/m")


@pytest.mark.parametrize("digits", ["9" * 19, "9" * 20, "1" * 5000])
def test_a_version_of_too_many_digits_is_refused(digits: str) -> None:
    with pytest.raises(Refusal, match=f"Failed to convert version: {digits[:40]}"):
        parse_route("GET", f"/v1/models/m/versions/{digits}")


def test_leading_zeros_do_not_count() -> None:
    assert parse_route("GET", f"/v1/models/m/versions/{'0' * 5000}7") == Route(STATUS, "m", version=7)
