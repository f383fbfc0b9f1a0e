"""The versions that twinserve ships: published before anything serves.

`python -m twinserve.shipped` prepares what containers share, as `twinserve up` does on one machine: the repository with
the shipped versions, TorchServe's model store in it, and the operators' token.
"""

import sys
from collections.abc import Callable
from pathlib import Path

from contracts.layout import TORCHSERVE_STORE, ModelPaths
from twinserve.places import SHIPPED_MODEL, Places, environment, short
from twinserve.publishing import PublishError, publish_versions

Say = Callable[[str], None]


def publish_shipped(repository: Path, say: Say) -> None:
    """Publish those of the shipped versions that are not published yet. Raises PublishError."""
    versions = sorted(int(path.stem) for path in SHIPPED_MODEL.glob("*.safetensors"))
    try:
        new = publish_versions(repository, SHIPPED_MODEL, versions, lambda line: say(f"repository: {line}"))
    except PublishError as error:
        raise PublishError(f"the shipped versions could not be published: {error}") from error
    if not new:
        published = ModelPaths(repository, SHIPPED_MODEL.name).published()
        say(f"repository: versions {', '.join(map(str, published))} are published in {short(repository)}")


def prepare(places: Places, say: Say) -> None:
    """Make what is not there yet: token, shipped versions, model store. Raises PublishError, OSError."""
    places.token_file.parent.mkdir(parents=True, exist_ok=True)
    places.ensure_token()
    publish_shipped(places.repository, say)
    (places.repository / TORCHSERVE_STORE).mkdir(exist_ok=True)


def main() -> int:
    """Prepare the places that the environment names; returns the exit code."""

    def say(line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    try:
        prepare(Places.from_environment(environment()), say)
    except (PublishError, OSError) as error:
        sys.stderr.write(f"twinserve.shipped: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
