"""The claim to change a model, which is its candidate in the repository, and every change of it.

Rules: pure. Each function takes the model as it is at the moment of the change and returns what it becomes, so that the
repository can do it while nobody else changes it. One claim a model; who holds it renews it, or it runs out.
Must not know where models are kept.
"""

from dataclasses import replace

from gateway.core.errors import Conflict
from gateway.core.published import CandidateVersion, PublishedModel, Rollout

CLAIM_LIFETIME_S = 15.0


def check_unclaimed(model: PublishedModel) -> None:
    """Raises Conflict that says who holds it."""
    if (candidate := model.candidate) is not None:
        raise Conflict(
            f"version {candidate.version} of {model.name} is being rolled out already, "
            f"by gateway {candidate.owner} (rollout {candidate.rollout}); wait for it, or roll back to withdraw it"
        )


def claimed(model: PublishedModel, rollout: Rollout, now: float) -> PublishedModel:
    """The model claimed for this rollout; `now` in Unix seconds. Raises Conflict when it is not as it was found."""
    check_unclaimed(model)
    if model.live != rollout.from_version:
        raise Conflict(f"version {model.live} of {model.name} went live just now")
    candidate = CandidateVersion(rollout.version, rollout.id, rollout.owner, now + CLAIM_LIFETIME_S)
    return replace(model, candidate=candidate)


def renewed(model: PublishedModel, candidate: CandidateVersion, now: float) -> PublishedModel:
    """The model claimed by this candidate for a while longer; `now` in Unix seconds."""
    return replace(model, candidate=replace(candidate, expires_at=now + CLAIM_LIFETIME_S))


def withdrawn(model: PublishedModel, rollout: str) -> PublishedModel:
    """The model without this rollout's claim; unchanged when the claim is another's, or gone."""
    if model.candidate is None or model.candidate.rollout != rollout:
        return model
    return replace(model, candidate=None)


def flipped_back(model: PublishedModel, found: PublishedModel, version: int, keep: int) -> PublishedModel:
    """As `flipped`, to a kept version, when the model is as an operator found it. Raises Conflict when it is not."""
    check_unclaimed(model)
    if (model.live, model.previous) != (found.live, version):
        raise Conflict(f"version {model.live} of {model.name} went live just now")
    if version not in model.kept or version not in model.versions:
        raise Conflict(f"version {version} of {model.name} is being unloaded: roll back once more to load it again")
    return flipped(model, version, keep)


def flipped(model: PublishedModel, version: int, keep: int) -> PublishedModel:
    """The model with `version` live, and of what was live or kept before, the newest `keep` kept loaded."""
    before = (model.live, *model.kept)
    kept = tuple(v for v in dict.fromkeys(before) if v != version)[:keep]
    return replace(model, live=version, previous=model.live, kept=kept, candidate=None)
