"""What /docs shows can be sent as it is shown."""

from typing import Any

from tests.unit.gateway.served import TOKEN, Served

METHODS = {"get", "post"}
# Orders that change what is served, and pictures, which no JSON shows.
NOT_SENT = {"/models/{model}/classify", "/v2/repository/models/{model}/unload"}


def test_every_example_works_as_it_is_shown(served: Served) -> None:
    document = served.client.get("/openapi.json").json()
    sent: dict[str, int] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            is_order = path.startswith("/admin") and method != "get"
            if method in METHODS and path not in NOT_SENT and not is_order:
                sent[f"{method} {path}"] = send(served, path, method, operation)
    assert {label: status for label, status in sent.items() if status != 200} == {}
    assert {
        "post /v2/models/{model}/infer",
        "post /v2/repository/models/{model}/load",
        "post /v1/models/{model}/labels/{label}:predict",
        "post /predictions/{model}/{version}",
        "get /v1/models/{model}/metadata",
        "get /v2/models/{model}/versions/{version}/stats",
    } <= set(sent)


def send(served: Served, path: str, method: str, operation: Any) -> int:
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", parameter["example"])
    content = operation.get("requestBody", {}).get("content", {}).get("application/json")
    body = {} if content is None else {"json": content["example"]}
    headers = {"Authorization": f"Bearer {TOKEN}"} if path.startswith("/admin") else {}
    status: int = served.client.request(method, path, headers=headers, **body).status_code
    return status
