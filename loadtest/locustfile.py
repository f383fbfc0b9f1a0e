"""For Locust: `locust -f loadtest/locustfile.py`, with its web UI and all its flags, and ours beside them (--help).

`twinserve loadtest SCENARIO` runs the same without the UI, with limits and an exit code. docs/loadtest.md tells more.
"""

from loadtest.scenarios.run import register
from loadtest.scenarios.users import ArrivalsUser, BinaryUser, GrpcUser, ImageUser, JsonUser, ScenarioShape

__all__ = ["ArrivalsUser", "BinaryUser", "GrpcUser", "ImageUser", "JsonUser", "ScenarioShape"]

register()
