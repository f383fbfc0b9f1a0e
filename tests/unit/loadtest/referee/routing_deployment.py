"""A gateway that pretends, for those who name no engine too."""

import asyncio
from pathlib import Path

from aiohttp import web

from contracts.golden import Golden, write_golden
from contracts.layout import ModelPaths
from loadtest.compare.deployment import Deployment, Place, look_at
from tests.unit.loadtest.compare.fake_deployment import INPUTS, MODEL, VERSION, FakeDeployment, compute

BOTH = ("torchserve", "tfserving")


class RoutingDeployment(FakeDeployment):
    """The two engines in turn."""

    async def infer(self, request: web.Request) -> web.Response:
        if "X-Engine" not in request.headers:
            request = request.clone(headers={**request.headers, "X-Engine": BOTH[len(self.asked) % 2]})
        return await super().infer(request)


def publish(folder: Path) -> None:
    """The golden rows of its version."""
    paths = ModelPaths(folder / "repository", MODEL).version(VERSION)
    paths.root.mkdir(parents=True)
    write_golden(paths.golden, Golden({"x": INPUTS}, {"y": compute(INPUTS)}))


async def look(deployment: FakeDeployment, folder: Path) -> Deployment:
    """What is found out about it from outside, with golden rows to ask."""
    publish(folder)
    place = Place(deployment.url, MODEL, BOTH, folder / "repository", folder / "home")
    return await asyncio.to_thread(look_at, place)
