"""The loss barrier between two ResNet-20 trained from different seeds, before and after aligning their units.

Two networks of different initialization and order of batches are trained on the same images (Fashion-MNIST, averaged
over squares of 2 x 2 pixels unless ``--pool 1``, which makes it affordable on a processor core). The test loss is
measured along the straight line between them, for the weights as they are and for the second network permuted by
activation or weight matching, with BatchNorm averaged or recalibrated. The barrier is the loss at the midpoint less
the mean loss of the two ends (Frankle et al. 2020; Git Re-Basin, Ainsworth et al. 2022, definition 2.2). Prints the
figures and draws them.

    python benchmarks/barrier.py --data-dir DIR --output docs/barrier.png
"""

import time
from pathlib import Path
from typing import Annotated

import matplotlib
import torch
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor

from dimat_flwr.data.mnist import FashionMNIST
from dimat_flwr.data.task import Classification
from dimat_flwr.learning.batches import PeerData
from dimat_flwr.learning.evaluation import evaluate
from dimat_flwr.learning.training import train_epochs
from dimat_flwr.merging import BatchNormPolicy, Method, align, merge, share_moved
from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry import find_permutation_spec

matplotlib.use("Agg")
import matplotlib.pyplot as plt

State = dict[str, Tensor]
# Okabe and Ito's colours, and lines and marks that are told apart without any.
CURVES: list[tuple[str, Method, BatchNormPolicy, dict[str, str]]] = [
    ("as they are, BatchNorm averaged", "none", "average", {"color": "#0072b2", "marker": "o", "linestyle": ":"}),
    ("as they are, recalibrated", "none", "recalibrate", {"color": "#d55e00", "marker": "s", "linestyle": "--"}),
    ("weight matching, recalibrated", "weight", "recalibrate", {"color": "#cc79a7", "marker": "^", "linestyle": "-."}),
    ("activation matching, recalibrated", "activation", "recalibrate", {"color": "#009e73", "marker": "D"}),
]


def generator(seed: int, purpose: str) -> torch.Generator:
    """Return a CPU generator for a purpose."""
    return torch.Generator().manual_seed(derive_seed(seed, purpose=purpose))


def trained(width: int, seed: int, data: PeerData, epochs: int, batch_size: int) -> ResNet20:
    """Train a network from a seed, with momentum and a learning rate that falls to zero over the epochs."""
    torch.manual_seed(derive_seed(seed, purpose="initialization"))
    network = ResNet20(num_classes=10, in_channels=1, width=width).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    for epoch in range(epochs):
        optimizer.param_groups[0]["lr"] = 0.05 * (1 - epoch / epochs)
        train_epochs(
            network,
            data,
            optimizer,
            Classification(10),
            epochs=1,
            batch_size=batch_size,
            generator=generator(seed, f"epoch {epoch}"),
            precision="bfloat16",
        )
    return network.to(memory_format=torch.contiguous_format).eval()


def pooled(source: FashionMNIST, images: Tensor, labels: Tensor, pool: int) -> PeerData:
    """Return images (N, 1, 28, 28) averaged to (N, 1, 28 / pool, 28 / pool)."""
    smaller = torch.nn.functional.avg_pool2d(images.float(), pool).round().to(torch.uint8)
    return PeerData(smaller, labels, None, source)


def main(
    data_dir: Annotated[str | None, typer.Option(envvar="DIMAT_DATA", help="Folder with FashionMNIST/raw.")] = None,
    output: Annotated[Path, typer.Option(help="Where to draw the figure.")] = Path("docs/barrier.png"),
    width: int = 4,
    pool: Annotated[int, typer.Option(help="Average the images over squares of this many pixels.")] = 2,
    epochs: int = 4,
    train_samples: int = 15000,
    test_samples: int = 1000,
    matching_samples: int = 1000,
    points: Annotated[int, typer.Option(help="Steps between the ends; even, so that the midpoint is one.")] = 4,
    batch_size: int = 64,
    threads: int = 1,
) -> None:
    """Train, interpolate, print and draw."""
    torch.set_num_threads(threads)
    console = Console(width=120)
    source = FashionMNIST(data_dir=data_dir, train_samples=train_samples, test_samples=test_samples)
    dataset = source.load()
    data = pooled(source, dataset.train_inputs, dataset.train_labels, pool)
    test = pooled(source, dataset.test_inputs, dataset.test_labels, pool)
    start = time.perf_counter()
    networks = [trained(width, seed, data, epochs, batch_size) for seed in (1, 2)]
    console.print(f"trained two networks in {time.perf_counter() - start:.0f} s")
    first, second = (network.state_dict() for network in networks)
    model = networks[0]
    batches = list(data.matching_inputs(matching_samples, 100, generator(0, "matching")))
    spec = find_permutation_spec(model, batches[0][:2])

    def measured(state: State) -> tuple[float, float]:
        network = ResNet20(num_classes=10, in_channels=1, width=width)
        network.load_state_dict(state)
        result = evaluate(network, test, Classification(10), batch_size=100)
        return result.loss, result.accuracy

    ends = [measured(first), measured(second)]
    shares = [step / points for step in range(points + 1)]
    table = Table(title="test loss between two ResNet-20")
    for column in ("", "midpoint loss", "midpoint accuracy %", "barrier", "units moved %"):
        table.add_column(column, justify="right" if column else "left")
    for end, (loss, accuracy) in zip(("first network", "second network"), ends, strict=True):
        table.add_row(end, f"{loss:.3f}", f"{accuracy:.1f}", "", "")
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    for name, method, policy, look in CURVES:
        aligned, permutation = align(
            model, first, second, spec, batches, method=method, generator=generator(0, "weight matching")
        )
        inner = [
            measured(merge(model, first, [aligned], [1 - x, x], batches=batches, method="none", batchnorm=policy))
            for x in shares[1:-1]
        ]
        middle_loss, middle_accuracy = inner[points // 2 - 1]
        barrier = middle_loss - (ends[0][0] + ends[1][0]) / 2
        moved = share_moved(permutation)
        table.add_row(name, f"{middle_loss:.3f}", f"{middle_accuracy:.1f}", f"{barrier:.3f}", f"{100 * moved:.1f}")
        axes.plot(shares, [ends[0][0], *(loss for loss, _ in inner), ends[1][0]], label=name, **look)
    console.print(table)
    axes.set_xlabel("share of the second network")
    axes.set_ylabel(f"test loss ({len(test)} images)")
    axes.set_title(f"Between two ResNet-20 (width {width}), Fashion-MNIST {28 // pool} x {28 // pool}, different seeds")
    axes.set_ylim(bottom=0)
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(output, dpi=130)
    console.print(f"drew {output} after {time.perf_counter() - start:.0f} s", soft_wrap=True)


if __name__ == "__main__":
    typer.run(main)
