"""Tests that import torch run in a process of their own (test_torch_process.py): others here may import tensorflow."""

import os

IN_TORCH_PROCESS = "TWINSERVE_TEST_TORCH_PROCESS"

collect_ignore = [] if os.environ.get(IN_TORCH_PROCESS) else ["test_handler.py", "test_train.py"]
