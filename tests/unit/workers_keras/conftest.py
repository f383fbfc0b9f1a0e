"""Tests that import keras run in a process of their own (test_keras_process.py): others here may import torch."""

import os

IN_KERAS_PROCESS = "TWINSERVE_TEST_KERAS_PROCESS"

collect_ignore = [] if os.environ.get(IN_KERAS_PROCESS) else ["test_model.py", "test_train.py"]
