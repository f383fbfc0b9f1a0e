"""Where PyTorch answered, by the answer itself."""

import torch

from workers.torch.factors.fallback import _asked


def refuse() -> torch.Tensor:
    raise AssertionError("Torch not compiled with CUDA enabled")


def test_the_device_of_the_answer_is_told() -> None:
    assert _asked(lambda: torch.zeros(1)) == "answers on the CPU"
    assert _asked(lambda: torch.zeros(1, device="meta")) == "answers on meta"
    assert _asked(refuse) == "refused: AssertionError: Torch not compiled with CUDA enabled"
