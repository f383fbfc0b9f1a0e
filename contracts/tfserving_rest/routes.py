"""Which REST call a request line stands for. Pure: method and target in, route out.

The target is the path *with* its query string, still percent-encoded: the original matches the whole of it, so a
query string becomes part of what it follows. Grammar: tensorflow_serving/model_servers/http_rest_api_handler.cc.
"""

import re
from dataclasses import dataclass
from enum import Enum
from urllib.parse import unquote

from contracts.tfserving_rest.refusals import Refusal, invalid

_MODEL = r"/v1/models/(?P<model>[^/:]+)(?:/(?:versions/(?P<version>[0-9]+)|labels/(?P<label>[^/:]+)))?"
_GET = re.compile(_MODEL + r"(?P<metadata>/metadata)?", re.IGNORECASE | re.ASCII)
_POST = re.compile(_MODEL + r":(?P<verb>classify|regress|predict)", re.IGNORECASE | re.ASCII)
_NAMELESS = re.compile(r"/v1/models", re.IGNORECASE)
_API = re.compile(r"/v1/.*", re.IGNORECASE | re.DOTALL)
_INT64 = 2**63
_MOST_DIGITS = 19


class Verb(Enum):
    """The calls there are; the last three are POST, and named so in the path."""

    STATUS = "status"
    METADATA = "metadata"
    CLASSIFY = "classify"
    REGRESS = "regress"
    PREDICT = "predict"


@dataclass(frozen=True)
class Route:
    """A call on a model. At most one of `version` and `label` is set; neither means the latest version."""

    verb: Verb
    model: str
    version: int | None = None
    label: str | None = None


def is_api(target: str) -> bool:
    """True under /v1/; what is not gets the web server's own page."""
    return _API.fullmatch(target) is not None


def parse_route(method: str, target: str) -> Route:
    """The route of a request under /v1/. Raises Refusal when there is none."""
    if method == "GET":
        if _NAMELESS.fullmatch(target):
            raise invalid("Missing model name in request.")
        match = _GET.fullmatch(target)
        if match is not None:
            # "/METADATA" matches the grammar, but only the lower-case word means it.
            verb = Verb.METADATA if match["metadata"] == "/metadata" else Verb.STATUS
            return _route(verb, match)
    if method == "POST":
        match = _POST.fullmatch(target)
        # The path may be written in any case, the verb may not.
        if match is not None and match["verb"].islower():
            return _route(Verb(match["verb"]), match)
    raise malformed(method, target)


def malformed(method: str, target: str) -> Refusal:
    """The answer to everything that is no call."""
    return invalid(f"Malformed request: {method} {target}")


def _route(verb: Verb, match: re.Match[str]) -> Route:
    version, label = match["version"], match["label"]
    # Python refuses to convert more than some thousand digits.
    if version is not None and (len(version.lstrip("0")) > _MOST_DIGITS or int(version.lstrip("0") or 0) >= _INT64):
        raise invalid(f"Failed to convert version: {version} to numeric.")
    return Route(
        verb,
        unquote(match["model"]),
        version=None if version is None else int(version.lstrip("0") or 0),
        label=None if label is None else unquote(label),
    )
