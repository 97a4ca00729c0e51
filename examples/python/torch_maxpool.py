"""A PyTorch trainer of LeNet-5 whose max poolings become ours: compares two Jacobians on the same weights, then trains.

What a trainer has to change stands between the two lines of dashes; the rest is plain PyTorch.
"""

import argparse
import copy
from pathlib import Path

import torch
from torch import nn

import tiebreak
import tiebreak.torch
from digits import load


def lenet5() -> nn.Module:
    """LeNet-5 on `[N, 1, 28, 28]`."""
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(256, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10)),
    )


def options() -> argparse.Namespace:
    """What the command line says."""
    show = argparse.ArgumentDefaultsHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0], formatter_class=show)
    parser.add_argument("--data", type=Path, help="folder of MNIST's four files; without it digits are drawn")
    parser.add_argument("--jacobian", default="minimal", choices=[j.name.lower() for j in tiebreak.Jacobian])
    parser.add_argument("--beta", type=float, default=100.0, help="for --jacobian beta")
    parser.add_argument("--composition", default="exact", choices=["exact", "split", "coupled"])
    parser.add_argument("--precision", type=int, default=32, choices=[16, 32, 64])
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--learning-rate", type=float, default=0.05)
    parser.add_argument(
        "--seed", type=int, default=1, help="of the initial weights and the order of the images"
    )
    parser.add_argument("--limit", type=int, default=0, help="first so many images; 0: all")
    return parser.parse_args()


def gradients(model: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> list[torch.Tensor]:
    """Of the mean cross-entropy, one for each parameter."""
    loss = nn.functional.cross_entropy(model(x), labels)
    return list(torch.autograd.grad(loss, list(model.parameters())))


def main() -> None:
    """Runs the program."""
    o = options()
    torch.manual_seed(o.seed)
    dtype = {16: torch.float16, 32: torch.float32, 64: torch.float64}[o.precision]
    x, labels, test_x, test_labels = (torch.from_numpy(array) for array in load(o.data, o.limit))
    x, test_x = x.to(dtype), test_x.to(dtype)
    print(f"{len(x)} training and {len(test_x)} test images")
    model = lenet5().to(dtype)

    # ------------------------------------------------------------------------------------------------
    chosen = tiebreak.MaxPoolKink(o.jacobian, o.beta, o.composition, o.seed)
    for bits, form in ((16, torch.float16), (32, torch.float32)):
        trial = copy.deepcopy(model).to(form)
        batch = x[: o.batch_size].to(form), labels[: o.batch_size]
        plain = gradients(trial, *batch)
        for name, kink in (("native", tiebreak.MaxPoolKink()), (o.jacobian, chosen)):
            tiebreak.torch.replace_layers(trial, maxpool=kink)
            parts = zip(plain, gradients(trial, *batch), strict=True)
            apart = sum((a.double() - b.double()).abs().sum().item() for a, b in parts)
            print(f"{bits} bits: L1 distance of PyTorch's gradient and ours, {name}: {apart:.3e}")
    tiebreak.torch.replace_layers(model, maxpool=chosen)
    # ------------------------------------------------------------------------------------------------

    optimizer = torch.optim.SGD(model.parameters(), o.learning_rate, momentum=0.9)
    for epoch in range(o.epochs):
        for batch in torch.randperm(len(x)).split(o.batch_size):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(model(x[batch]), labels[batch])
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            correct = sum(
                (model(part).argmax(1) == right).sum().item()
                for part, right in zip(test_x.split(1000), test_labels.split(1000), strict=True)
            )
        print(f"epoch {epoch + 1}: last loss {loss:.4f}, test accuracy {100 * correct / len(test_x):.2f} %")


if __name__ == "__main__":
    main()
