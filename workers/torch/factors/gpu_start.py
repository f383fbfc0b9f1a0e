"""One small thing on the GPU, then MB taken: `python -m workers.torch.factors.gpu_start default|half`."""

import sys

import torch

from workers.factors.gpu import used_mb

if __name__ == "__main__":
    before_mb = used_mb()
    if sys.argv[1] == "half":
        torch.cuda.set_per_process_memory_fraction(0.5)
    (torch.ones(1, device="cuda") + 1).item()
    sys.stdout.write(f"{used_mb() - before_mb}\n")
