"""`twinserve compare`: which engine is faster on this machine, by how much, and how sure that is.

Rules: the two take turns in pairs, so that both meet the same machine; a pair gives one log-ratio, and only pairs are
taken as independent of each other; what would spoil a measurement is rejected by a rule that is written down before,
and told; a run of an engine against itself says what the method finds where there is nothing to find.
"""
