"""One process of several that train the network together: see workers.factors.ranks.measure_ranks."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from workers.factors.ranks import own_share, train_steps
from workers.torch.model import Network
from workers.torch.train import make_step


def main(rank: int, ranks: int, threads: int, steps: int, folder: Path) -> None:
    """Train, and print images a second as rank 0."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    network: torch.nn.Module = Network()
    if ranks > 1:
        dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=ranks)
        network = DistributedDataParallel(network)
    images, labels = (torch.from_numpy(array) for array in own_share(rank, ranks))
    take_step = make_step(network, torch.optim.Adam(network.parameters(), lr=0.001))
    rate = train_steps(lambda: take_step(images, labels), steps)
    if rank == 0:
        sys.stdout.write(f"{rate}\n")
    if ranks > 1:
        dist.barrier()
        dist.destroy_process_group()


if __name__ == "__main__":
    first, count, own_threads, own_steps = map(int, sys.argv[1:5])
    main(first, count, own_threads, own_steps, Path(sys.argv[5]))
