"""A C++ operator of our own in PyTorch: `python -m workers.torch.factors.custom_operator`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import torch
from torch.utils import cpp_extension

from contracts.findings import Finding
from workers.factors.extension import Extension, Operator, measure_extension
from workers.factors.task import Task, run_task
from workers.torch.factors.formats import in_numpy


class Squared(torch.nn.Module):
    """A model that is the operator alone."""

    def forward(self, given: torch.Tensor) -> torch.Tensor:
        answer: torch.Tensor = torch.ops.twinserve_factors.relu_squared(given)
        return answer


def findings(task: Task) -> Iterator[Finding]:
    """Build, answers, speed, TorchScript."""
    return measure_extension(task, _extension)


def _extension() -> Extension:
    # torch.utils.cpp_extension.load runs the same compiler by ninja; called by ourselves, both frameworks' are alike.
    flags = ["-std=c++20", *(f"-I{path}" for path in cpp_extension.include_paths())]
    flags += [flag for path in cpp_extension.library_paths() for flag in (f"-L{path}", f"-Wl,-rpath,{path}")]
    flags += ["-ltorch", "-ltorch_cpu", "-lc10", f"-D_GLIBCXX_USE_CXX11_ABI={int(torch.compiled_with_cxx11_abi())}"]
    return Extension(
        source=Path(__file__).with_name("relu_squared.cpp"),
        flags=flags,
        load=_load,
        composed=in_numpy(lambda given: given.relu().square()),
        export=_export,
        served="workers.torch.factors.served_operator",
    )


def _load(library: Path) -> Operator:
    torch.ops.load_library(str(library))
    return in_numpy(torch.ops.twinserve_factors.relu_squared)


def _export(path: Path) -> str:
    torch.jit.script(Squared()).save(path)
    return "TorchScript takes it"


if __name__ == "__main__":
    sys.exit(run_task("workers.torch.factors.custom_operator", findings))
