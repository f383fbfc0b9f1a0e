"""The claim to change a model: who gets it, who keeps it, and what becomes of it."""

import dataclasses

import pytest

from gateway.core.claims import CLAIM_LIFETIME_S, claimed, flipped, flipped_back, renewed, withdrawn
from gateway.core.errors import Conflict
from gateway.core.published import CandidateVersion, PublishedModel, Rollout
from tests.unit.gateway.adder import published

MODEL = published(live=2, versions=(1, 2, 3), kept=(1,))
ROLLOUT = Rollout("r1", "promote", 3, 2, "here", started_at=0.0)
CLAIMED = dataclasses.replace(MODEL, candidate=CandidateVersion(3, "r1", "here", expires_at=5.0, share=0.5))


def test_a_claim_lasts_for_a_while_and_is_renewed_as_it_is() -> None:
    model = claimed(MODEL, ROLLOUT, now=100.0)
    assert model == dataclasses.replace(
        MODEL, candidate=CandidateVersion(3, "r1", "here", expires_at=100.0 + CLAIM_LIFETIME_S)
    )
    assert CLAIMED.candidate
    later = renewed(CLAIMED, CLAIMED.candidate, now=200.0).candidate
    assert later == dataclasses.replace(CLAIMED.candidate, expires_at=200.0 + CLAIM_LIFETIME_S)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (CLAIMED, "version 3 of adder is being rolled out already, by gateway here (rollout r1)"),
        (dataclasses.replace(MODEL, live=1), "version 1 of adder went live just now"),
    ],
)
def test_who_comes_too_late_gets_no_claim(model: PublishedModel, said: str) -> None:
    with pytest.raises(Conflict) as error:
        claimed(model, ROLLOUT, now=100.0)
    assert said in error.value.message


def test_only_its_own_claim_is_withdrawn() -> None:
    assert withdrawn(CLAIMED, "r1") == MODEL
    assert withdrawn(CLAIMED, "r2") == CLAIMED
    assert withdrawn(MODEL, "r1") == MODEL


@pytest.mark.parametrize(
    ("version", "keep", "kept"), [(3, 0, ()), (3, 1, (2,)), (3, 2, (2, 1)), (3, 9, (2, 1)), (1, 2, (2,))]
)
def test_a_flip_keeps_the_newest_of_what_was_loaded(version: int, keep: int, kept: tuple[int, ...]) -> None:
    model = flipped(CLAIMED, version, keep)
    assert (model.live, model.previous, model.kept, model.candidate) == (version, 2, kept, None)


FOUND = dataclasses.replace(MODEL, previous=1)


def test_flipped_back() -> None:
    model = flipped_back(FOUND, FOUND, 1, keep=1)
    assert (model.live, model.previous, model.kept) == (1, 2, (2,))


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (dataclasses.replace(FOUND, candidate=CLAIMED.candidate), "is being rolled out already"),
        (dataclasses.replace(FOUND, live=3, previous=2), "version 3 of adder went live just now"),
        (dataclasses.replace(FOUND, kept=()), "version 1 of adder is being unloaded"),
        (published(live=2, versions=(2, 3), kept=(1,)), "version 2 of adder went live just now"),
    ],
)
def test_nobody_goes_back_on_what_somebody_else_has_changed(model: PublishedModel, said: str) -> None:
    with pytest.raises(Conflict) as error:
        flipped_back(model, FOUND, 1, keep=1)
    assert said in error.value.message
