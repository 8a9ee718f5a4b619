"""Some ResNet-20 trained apart, merged into one by every strategy: accuracy and loss barrier, over three seeds.

Members of a seed differ in initialization and order of batches and see the same images (Fashion-MNIST or CIFAR-10;
averaged to ``--size`` pixels a side, which makes it affordable on a processor core). The barrier is the merged model's
test loss less the mean test loss of its members (Git Re-Basin, Ainsworth et al. 2022, definition 2.2, for more than
two). Trained networks are kept in ``--cache``, of one data set and setting: a second start reads them. docs/merging.md
has the figures.

    python benchmarks/merge_many.py --cache DIR --data-dir DIR
"""

import copy
import itertools
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import safetensors.torch
import torch
import typer
from torch import Tensor

from dimat_flwr.data.cifar import CIFAR10
from dimat_flwr.data.images import ImageSource
from dimat_flwr.data.mnist import FashionMNIST
from dimat_flwr.data.task import Classification
from dimat_flwr.learning.batches import PeerData
from dimat_flwr.learning.evaluation import evaluate
from dimat_flwr.merging import BatchNormPolicy, Method, Strategy, match_activations, merge, merge_many
from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry import find_permutation_spec

State = dict[str, Tensor]
# Name, images to match on (None: all), early_stop; batches of 50 images.
STOPS: list[tuple[str, int | None, float | None]] = [
    ("all images", None, None),
    ("early_stop=0.05", None, 0.05),
    ("early_stop=0.1", None, 0.1),
    ("early_stop=0.2", None, 0.2),
    ("the first 300", 300, None),
    ("the first 100", 100, None),
]
SOURCES: dict[str, type[ImageSource]] = {"fashion_mnist": FashionMNIST, "cifar10": CIFAR10}


def trained(network: ResNet20, data: PeerData, epochs: int, batch_size: int, seed: int) -> State:
    """Train in bfloat16 with a learning rate that rises to 0.1 in the first fifth and falls to zero after it."""
    network = network.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4, nesterov=True)
    steps = epochs * data.batches_per_epoch(batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 0.1, total_steps=steps, pct_start=0.2, anneal_strategy="linear", cycle_momentum=False
    )
    for step in range(steps):
        images, labels = data.batch(step, batch_size, derive_seed(seed, purpose="order"))
        with torch.autocast("cpu", torch.bfloat16):
            loss = torch.nn.functional.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return network.to(memory_format=torch.contiguous_format).eval().state_dict()


def members(
    cache: Path, make: Callable[[], ResNet20], data: PeerData, count: int, seed: int, epochs: int, batch_size: int
) -> list[State]:
    """Return the trained networks of a seed, reading those that are in the cache and adding the others."""
    found = []
    for member in range(count):
        own = derive_seed(seed, peer=member, purpose="member")
        path = cache / f"seed{seed}-member{member}.safetensors"
        if not path.is_file():
            torch.manual_seed(own)
            start = time.perf_counter()
            state = trained(make(), data, epochs, batch_size, own)
            temporary = path.with_suffix(".part")
            safetensors.torch.save_file(state, temporary)
            temporary.replace(path)
            print(f"trained {path.name} in {time.perf_counter() - start:.0f} s", flush=True)
        found.append(safetensors.torch.load_file(path))
    return found


def resized(source: ImageSource, images: Tensor, labels: Tensor, size: int) -> PeerData:
    """Return images (N, C, H, W) averaged over areas to (N, C, size, size)."""
    smaller = torch.nn.functional.interpolate(images.float(), size=size, mode="area").round().to(torch.uint8)
    return PeerData(smaller, labels, None, source)


@dataclass(frozen=True)
class Row:
    """One line of the table: the strategy and what ``merge_many`` is told; no strategy: average as they are."""

    name: str
    strategy: Strategy | None
    method: Method = "activation"
    batchnorm: BatchNormPolicy = "recalibrate"
    corrected: bool = False


ROWS = [
    Row("averaged as they are, BatchNorm averaged", None, batchnorm="average"),
    Row("averaged as they are", None),
    Row("averaged as they are, BatchNorm averaged, variance correction", None, batchnorm="average", corrected=True),
    Row("to the first, activation", "first", "activation"),
    Row("to the first, weight", "first", "weight"),
    Row("to the first, weight, BatchNorm averaged, variance correction", "first", "weight", "average", corrected=True),
    Row("to the first, weight_from_activation", "first", "weight_from_activation"),
    Row("MergeMany, started as they are", "many", "none"),
    Row("MergeMany, started from activation", "many", "activation"),
    Row("MergeMany, started from weight_from_activation", "many", "weight_from_activation"),
    Row("cycle-consistent, the better of both starts", "cycle_consistent", "activation"),
]


class Bench:
    """Measures merges of a seed's networks."""

    def __init__(self, model: ResNet20, states: list[State], data: PeerData, test: PeerData, samples: int) -> None:
        self.model, self.states, self.test = model, states, test
        generator = torch.Generator().manual_seed(0)
        self.batches = list(data.matching_inputs(samples, 50, generator))
        self.spec = find_permutation_spec(model, self.batches[0][:2])
        self.ends = [self.measured(state) for state in states]
        self.mean_loss = sum(loss for loss, _ in self.ends) / len(self.ends)

    def measured(self, state: State) -> tuple[float, float]:
        """Return test loss and accuracy in percent."""
        network = copy.deepcopy(self.model)
        network.load_state_dict(state)
        result = evaluate(network, self.test, Classification(10), batch_size=200)
        return result.loss, result.accuracy

    def merged(self, row: Row, steps: int) -> tuple[float, float, float, float]:
        """Return accuracy (%), barrier, mean cosine of the aligned weights, seconds of the merge."""
        start = time.perf_counter()
        merged = merge_many(
            self.model,
            self.states,
            spec=self.spec,
            batches=self.batches,
            strategy=row.strategy or "first",
            method="none" if row.strategy is None else row.method,
            batchnorm=row.batchnorm,
            max_steps=steps,
        )
        seconds = time.perf_counter() - start
        aligned = [self.spec.apply(state, p) for state, p in zip(self.states, merged.permutations, strict=True)]
        state = correct_variance(merged.state, aligned) if row.corrected else merged.state
        loss, accuracy = self.measured(state)
        return accuracy, loss - self.mean_loss, mean_cosine(aligned), seconds

    def stopped(self, images: int | None, early_stop: float | None) -> tuple[float, float]:
        """Return the accuracy (%) of the first two merged by activation matching, and the images it read.

        Args:
            images: match on the first so many; None: on all.
            early_stop: see ``match_activations``.
        """
        read = 0

        def counted() -> Iterator[Tensor]:
            nonlocal read
            for batch in self.batches if images is None else self.batches[: images // 50]:
                read += len(batch)
                yield batch

        first, second = self.states[:2]
        p = match_activations(self.model, first, second, self.spec, counted(), early_stop=early_stop)
        aligned = self.spec.apply(second, p)
        state = merge(self.model, first, [aligned], [0.5, 0.5], batches=self.batches, method="none")
        return self.measured(state)[1], read


def correct_variance(merged: State, members: list[State]) -> State:
    """Give every averaged weight tensor the variance its members' have on average, about its own mean.

    Variance-corrected averaging, which reads no data (Tian et al. 2024, https://arxiv.org/abs/2404.04616), in the form
    of a public implementation; the paper's own equation was not compared. Tensors of a single number and BatchNorm's
    running statistics stay as they are.
    """
    corrected = dict(merged)
    for name, tensor in merged.items():
        if tensor.numel() > 1 and tensor.is_floating_point() and "running_" not in name:
            wanted = torch.stack([state[name].var() for state in members]).mean()
            if tensor.var() > 0:
                corrected[name] = (tensor - tensor.mean()) * (wanted / tensor.var()).sqrt() + tensor.mean()
    return corrected


def mean_cosine(aligned: list[State]) -> float:
    """Return the mean over pairs of the cosine between two networks' weights."""
    names = [name for name, tensor in aligned[0].items() if tensor.ndim > 1]
    flat = [torch.cat([state[name].double().flatten() for name in names]) for state in aligned]
    pairs = [float(torch.cosine_similarity(p, q, dim=0)) for p, q in itertools.combinations(flat, 2)]
    return statistics.mean(pairs)


def spread(values: Sequence[float], digits: int) -> str:
    """Return mean and standard deviation over seeds as text."""
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.{digits}f} ± {deviation:.{digits}f}"


def markdown(title: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a markdown table."""
    lines = [title, ["---", *["---:"] * (len(title) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main(
    cache: Annotated[Path, typer.Option(help="Folder of the trained networks; made if it is missing.")],
    data_dir: Annotated[str | None, typer.Option(envvar="DIMAT_DATA", help="Folder of the data set's folder.")] = None,
    dataset: Annotated[Literal["fashion_mnist", "cifar10"], typer.Option(help="Which images.")] = "fashion_mnist",
    count: Annotated[int, typer.Option("--members", min=2)] = 5,
    seeds: int = 3,
    width: int = 4,
    size: Annotated[int, typer.Option(help="Average the images to this many pixels a side.")] = 14,
    epochs: int = 2,
    train_samples: int = 20000,
    test_samples: int = 1000,
    matching_samples: int = 1000,
    batch_size: int = 64,
    steps: Annotated[int, typer.Option(help="Of Frank-Wolfe, from each start.")] = 100,
    threads: int = 1,
    train_only: Annotated[bool, typer.Option(help="Stop when the networks are in the cache.")] = False,
) -> None:
    """Train what is missing, merge, print."""
    torch.set_num_threads(threads)
    cache.mkdir(parents=True, exist_ok=True)
    source = SOURCES[dataset](data_dir=data_dir, train_samples=train_samples, test_samples=test_samples)
    images = source.load()
    data = resized(source, images.train_inputs, images.train_labels, size)

    def make() -> ResNet20:
        return ResNet20(num_classes=10, in_channels=source.channels, width=width)

    groups = [members(cache, make, data, count, seed, epochs, batch_size) for seed in range(seeds)]
    if train_only:
        print(f"{len(groups)} x {count} networks are in {cache}")
        return
    test = resized(source, images.test_inputs, images.test_labels, size)
    benches = [Bench(make().eval(), states, data, test, matching_samples) for states in groups]
    ends = [statistics.mean(accuracy for _, accuracy in bench.ends) for bench in benches]
    shares, full = [], [bench.stopped(None, None) for bench in benches]
    for name, fewer, patience in STOPS:
        found = full if (fewer, patience) == (None, None) else [bench.stopped(fewer, patience) for bench in benches]
        lost = [accuracy - whole for (accuracy, _), (whole, _) in zip(found, full, strict=True)]
        used = [100 * read / matching_samples for _, read in found]
        shares.append([name, spread([a for a, _ in found], 1), spread(lost, 2), spread(used, 0)])
    print(markdown(["two members, activation matching", "accuracy %", "points gained", "images read %"], shares))
    losses = spread([bench.mean_loss for bench in benches], 2)
    print(f"\n{count} members, {seeds} seeds, mean test loss of the members {losses}\n", flush=True)
    lines = [["members, mean", spread(ends, 1), spread([0.0] * seeds, 2), "", ""]]
    print(*lines[0], sep=" | ", flush=True)
    for row in ROWS:
        accuracies, barriers, cosines, seconds = zip(*(bench.merged(row, steps) for bench in benches), strict=True)
        cost = f"{statistics.mean(seconds):.0f}"
        lines.append([row.name, spread(accuracies, 1), spread(barriers, 2), spread(cosines, 3), cost])
        print(*lines[-1], sep=" | ", flush=True)
    print("\n" + markdown(["merged", "accuracy %", "loss barrier", "mean cosine", "seconds"], lines))


if __name__ == "__main__":
    typer.run(main)
