"""Short turns last exactly as long as a load does."""

import sys

import pytest

from workers.tf.embedded.fair_turns import SHORT_TURN_S, FairTurns


def test_turns_are_short_until_the_last_load_has_ended_even_when_it_fails() -> None:
    usual_s, turns = sys.getswitchinterval(), FairTurns()
    with turns.during_load():
        assert sys.getswitchinterval() == pytest.approx(SHORT_TURN_S)
        with pytest.raises(ValueError, match="no such graph"), turns.during_load():
            raise ValueError("no such graph")
        assert sys.getswitchinterval() == pytest.approx(SHORT_TURN_S)
    assert sys.getswitchinterval() == pytest.approx(usual_s)
