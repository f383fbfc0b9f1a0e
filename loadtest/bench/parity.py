"""Whether all that answers on a GPU computes the same: golden images in, logits held against those known. Pure.

Limits are on the largest difference of a logit. FP32: 1e-3, as the issue has it. FP16 keeps 11 binary digits, so a
logit between 16 and 32, which the shipped versions have, is rounded in steps of 1/64; three such steps, 0.05, leave
room for what the layers before have rounded. Labels have to be the same in both.
"""

import msgspec
import numpy as np

from loadtest.bench.dialects import Floats

FP32_LIMIT = 1e-3
FP16_LIMIT = 0.05


class Parity(msgspec.Struct, frozen=True):
    """`difference` is the largest of a logit; `labels_wrong` counts images whose largest logit is another one.

    `difference` is None when the answer has another shape, or is no number somewhere.
    """

    who: str
    limit: float
    images: int
    difference: float | None
    labels_wrong: int

    @property
    def is_kept(self) -> bool:
        return self.difference is not None and self.difference <= self.limit and not self.labels_wrong


def compare_logits(who: str, limit: float, known: Floats, answer: Floats) -> Parity:
    """`known` and `answer` are logits FP32 [N,10]."""
    if answer.shape != known.shape or not np.isfinite(answer).all():
        return Parity(who, limit, len(known), None, len(known))
    difference = float(np.abs(known - answer).max(initial=0.0))
    wrong = int((known.argmax(axis=1) != answer.argmax(axis=1)).sum())
    return Parity(who, limit, len(known), difference, wrong)
