"""One process of several that train the network together: see workers.factors.ranks.measure_ranks."""

import json
import os
import sys

import keras
import tensorflow as tf

from workers.factors.ranks import own_share, train_steps
from workers.tf.model import new_network


def main(rank: int, ranks: int, threads: int, steps: int, addresses: str) -> None:
    """Train, and print images a second as rank 0."""
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    strategy = tf.distribute.get_strategy()
    if ranks > 1:
        task = {"type": "worker", "index": rank}
        os.environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": addresses.split(",")}, "task": task})
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    with strategy.scope():
        network = new_network()
        optimizer = keras.optimizers.Adam(0.001)
        optimizer.build(network.trainable_variables)
    images, labels = (tf.constant(array) for array in own_share(rank, ranks))

    def replica_step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = network(images, training=True)
            loss = tf.reduce_sum(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.apply(gradients, network.trainable_variables)
        return loss

    @tf.function
    def take_step() -> tf.Tensor:
        return strategy.run(replica_step)

    rate = train_steps(take_step, steps)
    if rank == 0:
        sys.stdout.write(f"{rate}\n")


if __name__ == "__main__":
    first, count, own_threads, own_steps = map(int, sys.argv[1:5])
    main(first, count, own_threads, own_steps, sys.argv[6])
