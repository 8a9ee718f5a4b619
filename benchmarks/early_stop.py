"""How far merges differ that stop reading images early, and how far full ones do that match on other images.

The first networks of seed 0 of ``merge_many.py``, in its ``--cache`` (they are trained where they are missing), are
merged two by two, each with the next, by activation matching on several disjoint draws of training images. Each draw
gives a full merge and those that read less of the same images. Two full merges of one pair that saw different images
tell how much of a difference is the images' doing; one and the same order of units with BatchNorm recalibrated on
another draw, how much of that is recalibration's. All are tested on the same images. docs/merging.md has the figures.

    python benchmarks/early_stop.py --cache DIR --data-dir DIR
"""

import copy
import itertools
import math
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal

import torch
import typer
from merge_many import SOURCES, State, markdown, members, resized
from torch import Tensor

from dimat_flwr.data.task import Classification
from dimat_flwr.learning.batches import PeerData
from dimat_flwr.learning.evaluation import evaluate
from dimat_flwr.merging import match_activations, merge
from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.seeding import derive_seed
from dimat_flwr.symmetry import Permutation, PermutationSpec, find_permutation_spec

BATCH = 50
FULL = "all images"
# Name, images to match on (None: all), early_stop.
ROWS: list[tuple[str, int | None, float | None]] = [
    (FULL, None, None),
    ("early_stop=0.2", None, 0.2),
]


class Pair:
    """Two networks and the images that their merges are tested on."""

    def __init__(self, model: ResNet20, states: Sequence[State], spec: PermutationSpec, test: PeerData) -> None:
        self.model, self.states, self.spec, self.test = model, states, spec, test

    def matched(
        self, batches: Sequence[Tensor], images: int | None, early_stop: float | None
    ) -> tuple[Permutation, int]:
        """Return the second network's order of units, and how many images that took."""
        read = 0

        def counted() -> Iterator[Tensor]:
            nonlocal read
            for batch in batches if images is None else batches[: images // BATCH]:
                read += len(batch)
                yield batch

        first, second = self.states
        found = match_activations(self.model, first, second, self.spec, counted(), early_stop=early_stop)
        return found, read

    def accuracy(self, order: Permutation, recalibrate_on: Sequence[Tensor]) -> float:
        """Return the accuracy (%) of the mean of both, BatchNorm recalibrated on a quarter of these batches."""
        first, second = self.states
        aligned = self.spec.apply(second, order)
        state = merge(self.model, first, [aligned], [0.5, 0.5], batches=recalibrate_on, method="none")
        network = copy.deepcopy(self.model)
        network.load_state_dict(state)
        # Twice as fast here as in float32, for all of them alike.
        network = network.to(memory_format=torch.channels_last)
        return evaluate(network, self.test, Classification(10), batch_size=200, precision="bfloat16").accuracy


def draws_of(data: PeerData, draws: int, images: int, seed: int) -> list[list[Tensor]]:
    """Return batches of different images for each draw."""
    generator = torch.Generator().manual_seed(derive_seed(seed, purpose="images to match on"))
    batches = data.matching_inputs(draws * images, BATCH, generator)
    per_draw = images // BATCH
    return [batches[start : start + per_draw] for start in range(0, draws * per_draw, per_draw)]


def root_mean_square(differences: Sequence[float]) -> float:
    """Return how large differences are on the whole."""
    return math.sqrt(statistics.fmean(value * value for value in differences))


def told(differences: Sequence[float]) -> list[str]:
    """Return mean, root mean square and the largest of differences, as text."""
    figures = (statistics.fmean(differences), root_mean_square(differences), max(map(abs, differences)))
    return [f"{figures[0]:+.2f}", *(f"{figure:.2f}" for figure in figures[1:])]


def main(
    cache: Annotated[Path, typer.Option(help="Folder of the trained networks; made if it is missing.")],
    data_dir: Annotated[str | None, typer.Option(envvar="DIMAT_DATA", help="Folder of the data set's folder.")] = None,
    dataset: Annotated[Literal["fashion_mnist", "cifar10"], typer.Option(help="Which images.")] = "cifar10",
    networks: Annotated[int, typer.Option(min=3, help="As many pairs, each with the next.")] = 3,
    draws: Annotated[int, typer.Option(min=2, help="Sets of images to match on, for each pair.")] = 3,
    images: Annotated[int, typer.Option(help=f"Of a draw; a multiple of {BATCH}.")] = 1000,
    width: int = 4,
    size: Annotated[int, typer.Option(help="Average the images to this many pixels a side.")] = 12,
    epochs: int = 2,
    train_samples: int = 20000,
    test_samples: Annotated[int | None, typer.Option(help="All, if not said.")] = None,
    batch_size: int = 64,
) -> None:
    """Train what is missing, merge, print."""
    torch.set_num_threads(1)
    cache.mkdir(parents=True, exist_ok=True)
    source = SOURCES[dataset](data_dir=data_dir, train_samples=train_samples, test_samples=test_samples)
    stored = source.load()
    data = resized(source, stored.train_inputs, stored.train_labels, size)
    test = resized(source, stored.test_inputs, stored.test_labels, size)

    def make() -> ResNet20:
        return ResNet20(num_classes=10, in_channels=source.channels, width=width)

    states = members(cache, make, data, networks, 0, epochs, batch_size)
    model = make().eval()
    sets = [draws_of(data, draws, images, first) for first in range(networks)]
    spec = find_permutation_spec(model, sets[0][0][0][:2])
    pairs = [Pair(model, (states[i], states[(i + 1) % networks]), spec, test) for i in range(networks)]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name, _, _ in ROWS}  # accuracy, share of images read
    recalibrated, full = [], [[0.0] * draws for _ in pairs]
    for draw, (number, pair) in itertools.product(range(draws), enumerate(pairs)):
        batches, elsewhere = sets[number][draw], sets[number][(draw + 1) % draws]
        for name, fewer, share in ROWS:
            order, read = pair.matched(batches, fewer, share)
            accuracy = pair.accuracy(order, batches)
            found[name].append((accuracy, read / images))
            print(f"pair {number}, draw {draw}, {name}: {accuracy:.2f} %, {read} images", flush=True)
            if name == FULL:
                full[number][draw] = accuracy
                recalibrated.append(pair.accuracy(order, elsewhere) - accuracy)
                print(f"pair {number}, draw {draw}, recalibrated on another: {recalibrated[-1]:+.2f}", flush=True)
    others = [one - other for accuracies in full for one, other in itertools.combinations(accuracies, 2)]
    lines = []
    for name, _, _ in ROWS:
        accuracy, read = (statistics.fmean(values) for values in zip(*found[name], strict=True))
        lost = [one - whole for (one, _), (whole, _) in zip(found[name], found[FULL], strict=True)]
        lines.append([name, f"{accuracy:.1f}", *(["", "", ""] if name == FULL else told(lost)), f"{100 * read:.0f}"])
    lines.append(["all of another draw", "", "", *told(others)[1:], "100"])
    lines.append(["the same order, recalibrated on another draw", "", "", *told(recalibrated)[1:], "100"])
    title = ["", "accuracy %", "points gained, mean", "root mean square", "largest", "images read %"]
    print(f"\n{networks} pairs, {draws} draws each, tested on {len(test):,} images\n\n{markdown(title, lines)}")


if __name__ == "__main__":
    typer.run(main)
