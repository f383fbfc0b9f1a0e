"""Whether engines answer copies of each other's requests: then each is measured with a share of the other's work."""

import json
import re

from loadtest.compare.deployment import CannotRun, fetch

_COPIES = re.compile(r"^twinserve_mirror_total\{([^}]*)\} (\S+)$", re.MULTILINE)


def check_not_mirrored(url: str, model: str, token: str | None) -> None:
    """Raises CannotRun when the model is mirrored. Who is no operator cannot ask: `count_copies` tells it later."""
    try:
        state = json.loads(fetch(f"{url}/admin/models/{model}", headers={"Authorization": f"Bearer {token}"}))
    except CannotRun:
        return
    mirrored = {engine: share for engine, share in (state.get("mirror") or {}).items() if share}
    if mirrored:
        shares = " and ".join(f"{share:.3g} of the answers are copied to {name}" for name, share in mirrored.items())
        off = ",".join(f"{name}=0" for name in mirrored)
        raise CannotRun(
            f"{model} is mirrored: {shares}, which would be measured as its own work. End that first: "
            f"twinserve route {model} --mirror {off}"
        )


def count_copies(url: str, model: str) -> int:
    """How many requests for the model an engine was asked a second time, so far. Raises CannotRun."""
    exposition = fetch(f"{url}/metrics").decode(errors="replace")
    return sum(
        int(float(count))
        for labels, count in _COPIES.findall(exposition)
        if f'model="{model}"' in labels and 'result="dropped"' not in labels
    )
