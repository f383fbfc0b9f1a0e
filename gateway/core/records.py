"""How a rollout is written down, from its beginning to its end.

Rules: a record that was begun ends as done or as failed. A failed one keeps the phase it failed in, for whoever asks
why. Must not know where records are kept.
"""

import time
import uuid
from dataclasses import replace
from typing import Literal

from gateway.core.published import PublishedModel, Rollout


def begun(
    kind: Literal["promote", "rollback"], model: PublishedModel, version: int, owner: str, phase: str = ""
) -> Rollout:
    """A rollout that begins now, from the live version to `version`; `owner` is the gateway process that runs it."""
    return Rollout(uuid.uuid4().hex[:12], kind, version, model.live, owner, started_at=time.time(), phase=phase)


def done(record: Rollout, reason: str | None = None) -> Rollout:
    """The rollout, ended well just now; `reason`, unless None, says what else is to be said."""
    reason = record.reason if reason is None else reason
    return replace(record, state="done", phase="", reason=reason, ended_at=time.time())


def failed(record: Rollout, reason: str, is_version_bad: bool = False) -> Rollout:
    """The rollout, failed just now."""
    return replace(record, state="failed", reason=reason, ended_at=time.time(), is_version_bad=is_version_bad)
