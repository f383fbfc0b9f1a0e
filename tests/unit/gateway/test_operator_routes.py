"""What operators ask over HTTP: promote, rollback, routing, and Triton's repository extension."""

from typing import Any

import pytest

from contracts.layout import ModelPaths
from contracts.live import read_live
from tests.platform_process import wait_until
from tests.unit.gateway.served import TOKEN, Served
from tests.unit.gateway.test_repository import publish

OPERATOR = {"Authorization": f"Bearer {TOKEN}"}


def state(served: Served) -> Any:
    return served.client.get("/admin/models/adder", headers=OPERATOR).json()


def test_promote_rollback_and_what_is_shown(served: Served) -> None:
    done = served.client.post("/admin/models/adder/promote?wait=true", json={"version": 1}, headers=OPERATOR)
    assert (done.status_code, done.json()["state"], done.json()["from_version"]) == (200, "done", 2)
    assert served.infer([1, 2]).headers["X-Model-Version"] == "1"
    shown = state(served)
    assert (shown["live"], shown["previous"], shown["kept"], shown["candidate"]) == (1, 2, [2], None)
    assert shown["rollout"]["id"] == done.json()["id"]
    back = served.client.post("/admin/models/adder/rollback", headers=OPERATOR)
    assert (back.status_code, back.json()["kind"], back.json()["state"]) == (200, "rollback", "done")
    assert served.infer([1, 2]).headers["X-Model-Version"] == "2"
    ledger = {version["version"]: version["ledger"] for version in state(served)["versions"]}
    assert ledger == {number: {"accepted": 1, "answered": 1, "failed": 0} for number in (1, 2)}
    assert served.metric('twinserve_swap_seconds_count{model="adder",phase="flip"}') == 2


def test_without_waiting_the_answer_comes_at_once_and_the_end_is_seen_later(served: Served) -> None:
    begun = served.client.post("/admin/models/adder/promote", json={"version": 1}, headers=OPERATOR)
    assert (begun.status_code, begun.json()["state"]) == (202, "running")
    wait_until(lambda: state(served)["rollout"]["state"] == "done", 10, "it ends by itself")


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "promote", {"version": 9}, 404, "unknown version 9 of model 'adder': expected one of [1, 2]"),
        ("POST", "promote", {}, 400, "missing required field `version`"),
        ("POST", "promote", {"version": "two"}, 400, "Expected `int`"),
        ("POST", "promote", {"version": 1, "keeep": 1}, 400, "unknown field `keeep`"),
        ("POST", "promote", {"version": 1, "canary": [50, 10]}, 400, "expected rising shares"),
        ("POST", "promote", {"version": 1, "engines": ["onnx"]}, 400, "unknown engine 'onnx'"),
        ("POST", "promote?wait=abc", {"version": 1}, 400, "query.wait"),
        ("POST", "rollback", None, 409, "nothing to roll back to"),
        ("PUT", "routing", {"weights": {"torchserve": -1}}, 400, "expected numbers of at least 0"),
        ("PUT", "routing", {"mirror": {"tfserving": 20}}, 400, "expected shares from 0 to 1"),
    ],
)
def test_orders_that_cannot_be_carried_out(
    served: Served,
    method: str,
    path: str,
    body: Any,
    status: int,
    said: str,
) -> None:
    if path == "rollback":
        paths = ModelPaths(served.repository, "adder")
        paths.live.write_text('{"live": 2}')
    answer = served.client.request(method, f"/admin/models/adder/{path}", json=body, headers=OPERATOR)
    assert (answer.status_code, said in answer.json()["error"]) == (status, True), answer.text


def test_every_operation_needs_the_token(served: Served) -> None:
    for method, path in (("POST", "promote"), ("POST", "rollback"), ("PUT", "routing"), ("GET", "mirror")):
        assert served.client.request(method, f"/admin/models/adder/{path}", json={"version": 1}).status_code == 401
    assert (
        served.client.post("/v2/repository/models/adder/load", json={"parameters": {"version": 1}}).status_code == 401
    )
    assert state(served)["live"] == 2


def test_an_altered_version_is_refused(served: Served) -> None:
    paths = publish(served.repository, 3)
    (paths.version(3).root / "adder.mar").write_bytes(b"slipped in later")
    answer = served.client.post("/admin/models/adder/promote", json={"version": 3}, headers=OPERATOR)
    assert answer.status_code == 409
    assert "adder.mar is not listed in the manifest" in answer.json()["error"]
    shown = next(version for version in state(served)["versions"] if version["version"] == 3)
    assert shown["engines"]["torchserve"]["state"] == "error"
    assert "adder.mar is not listed" in shown["engines"]["torchserve"]["reason"]


def test_routing_is_persisted(served: Served) -> None:
    order = {"weights": {"torchserve": 3, "tfserving": 1}, "mirror": {"tfserving": 0.1}}
    answer = served.client.put("/admin/models/adder/routing", json=order, headers=OPERATOR)
    assert (answer.json()["routing"], answer.json()["mirror"]) == (order["weights"], order["mirror"])
    live = read_live(ModelPaths(served.repository, "adder"))
    assert (live.routing, live.mirror) == (order["weights"], order["mirror"])
    engines = [served.infer([1, 2]).headers["X-Engine"] for _ in range(8)]
    assert engines.count("torchserve") == 6


def test_tritons_index_load_and_unload(served: Served) -> None:
    def call(path: str, **options: Any) -> Any:
        return served.client.post(f"/v2/repository/{path}", **options)

    index = call("index").json()
    assert [(e["name"], e["version"], e["state"]) for e in index if e["name"] == "adder"] == [
        ("adder", "1", "READY"),
        ("adder", "2", "READY"),
    ]
    assert call("models/adder/load").status_code == 200, "the newest is live: nothing changes, so nobody is asked who"
    assert call("models/adder/load", json={"parameters": {"version": "1"}}, headers=OPERATOR).status_code == 200
    assert state(served)["live"] == 1
    refused = call("models/adder/unload", headers=OPERATOR)
    assert (refused.status_code, "is live and cannot be unloaded" in refused.json()["error"]) == (409, True)
    assert call("models/adder/unload", json={"parameters": {"version": 2}}).status_code == 401
    assert call("models/adder/unload", json={"parameters": {"version": 2}}, headers=OPERATOR).status_code == 200
    assert state(served)["kept"] == []
    for path, body, status in (
        ("models/nobody/load", {}, 404),
        ("models/adder/load", {"parameters": {"version": "x"}}, 404),
        ("models/adder/load", {"parameters": {"version": [1]}}, 400),
        ("models/adder/unload", {"parameters": {"version": 9}}, 404),
    ):
        assert call(path, json=body, headers=OPERATOR).status_code == status, path
    ready = call("index", json={"ready": True}).json()
    assert {(e["name"], e["version"]) for e in ready} >= {("adder", "1")}
