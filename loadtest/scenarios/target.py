"""What the gateway says of the model that will be asked, before any load."""

import json
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence

_TIMEOUT_S = 10.0
_HERE = ("127.0.0.1", "localhost", "::1")


class BadTarget(Exception):
    """No gateway answers there, or it has no such model; the message says which."""


def opener_for(url: str) -> urllib.request.OpenerDirector:
    """Calls to this URL. A proxy is for the world outside; a gateway on this machine is not there."""
    is_here = urllib.parse.urlsplit(url).hostname in _HERE
    return urllib.request.build_opener(*([urllib.request.ProxyHandler({})] if is_here else []))


def read_inputs(url: str, model: str) -> Mapping[str, Sequence[int]]:
    """The shapes of the model's inputs by name; -1 is any size. Raises BadTarget."""
    address = f"{url}/v2/models/{model}"
    try:
        with opener_for(url).open(address, timeout=_TIMEOUT_S) as response:
            inputs = json.loads(response.read())["inputs"]
            return {item["name"]: tuple(item["shape"]) for item in inputs}
    except urllib.error.HTTPError as error:
        raise BadTarget(f"{address} answered {error.code}: {error.read()[:200].decode(errors='replace')}") from error
    except OSError as error:
        raise BadTarget(f"nothing answers at {url}: start it with `make up`, or give --host ({error})") from error
    except (ValueError, KeyError, TypeError) as error:
        raise BadTarget(f"{url} is no twinserve gateway: {error}") from error
