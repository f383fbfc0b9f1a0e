"""One small thing on the GPU, then MB taken: `python -m workers.tf.factors.gpu_start default|growth|"limit 1 GB"`."""

import sys

import tensorflow as tf

from workers.factors.gpu import used_mb

if __name__ == "__main__":
    before_mb = used_mb()
    gpu = tf.config.list_physical_devices("GPU")[0]
    if sys.argv[1] == "growth":
        tf.config.experimental.set_memory_growth(gpu, True)
    elif sys.argv[1] != "default":
        limit = tf.config.LogicalDeviceConfiguration(memory_limit=1024)
        tf.config.set_logical_device_configuration(gpu, [limit])
    with tf.device("/GPU:0"):
        (tf.ones(1) + 1).numpy()
    sys.stdout.write(f"{used_mb() - before_mb}\n")
