"""What any transport tells about the server and its models, by the names that clients write.

Rules: a version as the client wrote it, None for whichever answers now. Reads the routing table of this process, and
the sums of all that live.
"""

from typing import Any

from gateway.core.keeper import Keeper
from gateway.core.lifecycle import best_seen
from gateway.core.ports import Observed, Peers
from gateway.core.readiness import Notice
from gateway.core.router import Router, VersionRoute
from gateway.core.usage import UsageBook, together
from gateway.protocols.conversation import parse_version
from gateway.protocols.model_documents import describe_config, describe_model, list_statistics

# What clients look for before they use it (Triton, docs/protocol/extension_*.md).
EXTENSIONS = ("binary_tensor_data", "model_configuration", "statistics", "model_repository")


class Catalogue:
    """Describes what is served. `version` is the gateway's own, `batch_rows` how many rows go to an engine at once."""

    def __init__(
        self,
        keeper: Keeper,
        router: Router,
        peers: Peers,
        usage: UsageBook,
        notice: Notice,
        version: str,
        batch_rows: int,
    ) -> None:
        self._keeper = keeper
        self._router = router
        self._peers = peers
        self._usage = usage
        self._notice = notice
        self._version = version
        self._batch_rows = batch_rows

    @property
    def is_ready(self) -> bool:
        """Whether every model's live version can be answered, and this process is not about to stop."""
        return self._keeper.is_ready and not self._notice.is_given

    async def wait_notice(self) -> None:
        """Return once this process is about to stop."""
        await self._notice.wait_given()

    def server(self) -> dict[str, Any]:
        """The server metadata object."""
        return {"name": "twinserve", "version": self._version, "extensions": list(EXTENSIONS)}

    def can_answer(self, model: str, version: str | None) -> bool:
        """Whether an engine has this version ready. Raises NotFound."""
        return bool(self._route(model, version).lanes)

    def model(self, model: str, version: str | None) -> dict[str, Any]:
        """The model metadata object. Raises NotFound."""
        return describe_model(self._router.model(model), self._route(model, version))

    def config(self, model: str, version: str | None) -> dict[str, Any]:
        """Triton's model configuration. Raises NotFound."""
        return describe_config(self._router.model(model), self._route(model, version), self._batch_rows)

    def statistics(self, model: str | None, version: str | None) -> list[dict[str, Any]]:
        """Triton's statistics, of all models for None, of all versions for None. Raises NotFound.

        Other gateway processes' sums are up to a second old, and those of a process that died are lost.
        """
        usages = together([self._usage.usages, *(report.usages for report in self._peers.others().values())])
        if model is None:
            return list_statistics(self._router.table.models, usages)
        number = None if version is None else self._route(model, version).version
        return list_statistics({model: self._router.model(model)}, usages, number)

    def states(self, model: str) -> list[tuple[int, Observed]]:
        """The versions that engines hold or failed to load, the highest first, and the best that any made of each."""
        held = {version for states in self._keeper.observed.values() for name, version in states if name == model}
        seen = [(version, best_seen(self._keeper.observed, model, version)) for version in sorted(held, reverse=True)]
        return [(version, observed) for version, observed in seen if observed is not None]

    def _route(self, model: str, version: str | None) -> VersionRoute:
        return self._router.version(model, parse_version(model, version))
