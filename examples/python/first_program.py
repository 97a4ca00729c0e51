"""The first program: a pooling whose windows tie, and its gradient under a choice."""

import argparse

import numpy as np

import tiebreak


def main() -> None:
    """Runs the program."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    x = np.array([[[[3, 3, 0, 1], [3, 0, 1, 1]]]], np.float32)
    with tiebreak.Engine() as engine:
        y, ties = engine.maxpool2d_forward(x)
        # Each tied element gets g / k.
        minimal = tiebreak.MaxPoolKink("minimal")
        gx = engine.maxpool2d_backward(np.ones_like(y), ties, x.shape, kink=minimal)
    print(*(f"{value:g}" for value in gx[0, 0, :, :2].flat))  # 0.333333 0.333333 0.333333 0


if __name__ == "__main__":
    main()
