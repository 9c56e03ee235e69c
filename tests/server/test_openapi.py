"""The description of the routes is that of the code."""

from __future__ import annotations

import re
from typing import Any

from flashling.server import limits
from flashling.server.app import ROUTES
from flashling.server.gate import OPEN

from .conftest import Served

# they take no body
BARE = {"/v1/requests/{id}/cancel", "/v1/sessions/{id}/park"}


def refs(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set[str]()
        return own.union(*map(refs, value.values()))
    return set[str]().union(*map(refs, value)) if isinstance(value, list) else set()


def test_each_route_is_described(served: Served) -> None:
    with served.client() as ann:
        told = ann.get("/openapi.json").json()
    assert told["openapi"].startswith("3.1")
    paths = {(r.path_format, m.lower()) for r in ROUTES for m in (r.methods or ()) if m != "HEAD"}
    assert {(p, m) for p, methods in told["paths"].items() for m in methods} == paths
    for path, methods in told["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], path
            assert ("requestBody" in operation) == (method == "post" and path not in BARE), path
            assert (operation.get("security") == []) == (path in OPEN)
            named = {p["name"] for p in operation["parameters"] if p["in"] == "path"}
            assert named == set(re.findall(r"{(\w+)}", path))


def test_fields_have_their_bounds(served: Served) -> None:
    with served.client() as ann:
        told = ann.get("/openapi.json").json()
    schemas = told["components"]["schemas"]
    assert refs(told) <= {f"#/components/schemas/{name}" for name in schemas}
    content = told["paths"]["/v1/chat/completions"]["post"]["requestBody"]["content"]
    chat = schemas[content["application/json"]["schema"]["$ref"].rpartition("/")[2]]
    assert chat["required"] == ["messages"]
    assert chat["properties"]["messages"]["maxItems"] == limits.MESSAGES
    (n, _) = chat["properties"]["n"]["anyOf"]
    assert n == {"type": "integer", "minimum": 1, "maximum": limits.SAMPLES}
    assert chat["properties"]["session_id"]["anyOf"][0]["pattern"]
