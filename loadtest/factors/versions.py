"""A running platform whose versions may take turns, as the factors name it: by its URL and its folders."""

import asyncio
import os
from dataclasses import dataclass
from pathlib import Path

from loadtest import turns
from loadtest.admin import Gateway, find_token
from loadtest.turns import Found


@dataclass(frozen=True)
class Platform:
    """A gateway, its repository as it is to be seen from here, and the folder of its operators' token."""

    url: str
    model: str = "mnist"
    repository: Path = Path("model_repo")
    home: Path = Path(".twinserve")

    def find(self) -> Found:
        """See loadtest.turns.find. Raises CannotTakeTurns, OSError."""
        return asyncio.run(turns.find(self._gateway, self.model, self.repository))

    def put_back(self, found: Found) -> str:
        """See loadtest.turns.put_back."""
        try:
            return asyncio.run(turns.put_back(self._gateway, self.model, found))
        except turns.CannotTakeTurns as error:
            return str(error)

    @property
    def _gateway(self) -> Gateway:
        return turns.gateway_at(self.url, find_token(os.environ, self.home))
