"""Trains LeNet-5 with a chosen Jacobian of max pooling, in 16, 32 or 64 bits."""

import argparse
from pathlib import Path

import numpy as np

import tiebreak
from digits import load


def options() -> argparse.Namespace:
    """What the command line says."""
    show = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=show)
    parser.add_argument("--data", type=Path, help="folder of MNIST's four files; without it digits are drawn")
    parser.add_argument("--jacobian", default="native", choices=[j.name.lower() for j in tiebreak.Jacobian])
    parser.add_argument("--beta", type=float, default=1.0, help="for --jacobian beta")
    parser.add_argument(
        "--composition", default="exact", choices=[c.name.lower() for c in tiebreak.Composition]
    )
    parser.add_argument("--precision", type=int, default=32, choices=[16, 32, 64])
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "gpu"])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the initial weights and the order of the images"
    )
    parser.add_argument("--limit", type=int, default=0, help="first so many images; 0: all")
    return parser.parse_args()


def main() -> None:
    """Runs the program."""
    o = options()
    x, labels, test_x, test_labels = load(o.data, o.limit)
    x, test_x = x.astype(f"float{o.precision}"), test_x.astype(f"float{o.precision}")
    print(f"{len(x)} training and {len(test_x)} test images")
    random = np.random.default_rng(o.seed)

    engine = tiebreak.Engine(o.device)
    network = tiebreak.Network(engine, "lenet5", f"f{o.precision}", seed=o.seed)
    network.set_kink(None, tiebreak.MaxPoolKink(o.jacobian, o.beta, o.composition, o.seed))
    optimizer = tiebreak.Optimizer(network, tiebreak.SGD(o.learning_rate, momentum=0.9, weight_decay=5e-4))
    for epoch in range(o.epochs):
        order = random.permutation(len(x))
        for first in range(0, len(x), o.batch_size):
            batch = order[first : first + o.batch_size]
            report = optimizer.train_step(x[batch], labels[batch])
        _, correct = network.evaluate(test_x, test_labels)
        print(
            f"epoch {epoch + 1}: last loss {report.loss:.4f}, test accuracy {100 * correct / len(test_x):.2f} %"
        )


if __name__ == "__main__":
    main()
