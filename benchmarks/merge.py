"""What a merge costs, stage by stage, as multiples of one forward pass of all networks over the same images.

Every configuration runs in a process of its own: first the plain networks' forward passes (mine and each neighbour's,
one after the other), then a real merge with clocks around its stages, so both are timed side by side; on a busy
machine ``--clock cpu`` counts processor time instead. The limit is 1.4 x the forward passes. Memory is the growth of
the process beyond what is handed in (model, weights of all networks and images), and is compared with two models (the
mix and a neighbour in my order) and one batch's activations.

    python benchmarks/merge.py --models resnet20_w8 --neighbours 1,4 --images 200 --json merge.json
"""

import json
import multiprocessing
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any
from unittest.mock import patch

import torch
import torchvision
import typer
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from dimat_flwr.merging import activation_matching, merge_models, merge_with_report, moments
from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.models.cifar_vgg import VGG16
from dimat_flwr.symmetry import PermutationSpec, TracedModel, find_permutation_spec

LIMIT = 1.4
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
STAGES = ("forward", "statistics", "assignment", "permuting", "recalibration")
MODELS: dict[str, tuple[Callable[[], nn.Module], int]] = {  # name -> (network, height and width of its images)
    "resnet20_w1": (lambda: ResNet20(width=1), 32),
    "resnet20_w4": (lambda: ResNet20(width=4), 32),
    "resnet20_w8": (lambda: ResNet20(width=8), 32),
    "vgg16": (lambda: VGG16(batchnorm=False), 32),
    "vgg16_bn": (lambda: VGG16(batchnorm=True), 32),
    "resnet50": (lambda: torchvision.models.resnet50(num_classes=10), 224),
    "vit_b_16": (lambda: torchvision.models.vit_b_16(num_classes=10), 224),
}


class Clock:
    """Time spent inside stages; a stage entered within another is not counted in the outer one."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._running: list[str] = []
        self._since = 0.0

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the time inside as a stage's."""
        self._switch(name)
        try:
            yield
        finally:
            self._switch(None)

    def _switch(self, entered: str | None) -> None:
        now = self._now()
        if self._running:
            self.seconds[self._running[-1]] += now - self._since
        self._since = now
        if entered is None:
            self._running.pop()
        else:
            self._running.append(entered)

    def around(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return the function with its calls counted as a stage's."""

        def timed(*arguments: Any, **keywords: Any) -> Any:
            with self.stage(name):
                return function(*arguments, **keywords)

        return timed


@contextmanager
def clocked(clock: Clock) -> Iterator[None]:
    """Put clocks around the stages of the real merge."""
    stages: list[tuple[Any, str, str]] = [
        (TracedModel, "run", "forward"),
        (activation_matching, "centre", "statistics"),
        (moments.CrossMoments, "add", "statistics"),
        (moments.CrossMoments, "statistic", "statistics"),
        (activation_matching, "match_family", "assignment"),
        (PermutationSpec, "apply", "permuting"),
        (merge_models, "recalibrate_batchnorm", "recalibration"),
    ]
    with ExitStack() as stack:
        for owner, attribute, stage in stages:
            stack.enter_context(patch.object(owner, attribute, clock.around(stage, getattr(owner, attribute))))
        yield


def measure(
    name: str, neighbours: int, images: int, batch_size: int, threads: int, repeats: int, clock_name: str
) -> dict[str, Any]:
    """Measure one configuration in this process; times are the fastest of the repeats, in seconds."""
    torch.set_num_threads(threads)
    now = CLOCKS[clock_name]
    torch.manual_seed(0)
    build, size = MODELS[name]
    networks = [build().eval() for _ in range(neighbours + 1)]
    states = [network.state_dict() for network in networks]
    batches = [torch.randn(min(batch_size, images - start), 3, size, size) for start in range(0, images, batch_size)]
    spec = find_permutation_spec(networks[0], batches[0][:2])
    weights = [1 / len(states)] * len(states)
    forward, merge, stages = float("inf"), float("inf"), dict[str, float]()
    activation_bytes = batch_activations(networks[0], batches[0])
    for network in networks:
        run(network, batches[:1])
    reset_peak()
    before, peak = memory(), 0
    for _ in range(repeats):
        start = now()
        for network in networks:
            run(network, batches)
        forward = min(forward, now() - start)
        reset_peak()
        clock = Clock(now)
        start = now()
        with clocked(clock):
            merge_with_report(networks[0], states[0], states[1:], weights, spec=spec, batches=batches)
        seconds = now() - start
        peak = max(peak, memory(peak=True))
        if seconds < merge:
            merge, stages = seconds, dict(clock.seconds)
    model_bytes = sum(tensor.nbytes for tensor in states[0].values())
    return {
        "model": name,
        "neighbours": neighbours,
        "images": images,
        "batch_size": batch_size,
        "threads": threads,
        "clock": clock_name,
        "forward_seconds": forward,
        "merge_seconds": merge,
        "ratio": merge / forward,
        "limit": LIMIT,
        "stages": {stage: stages.get(stage, 0.0) / forward for stage in STAGES},
        "peak_bytes": peak - before,
        "model_bytes": model_bytes,
        "batch_activation_bytes": activation_bytes,
        "peak_limit_bytes": 2 * model_bytes + activation_bytes,
    }


def run(network: nn.Module, batches: list[Tensor]) -> None:
    """Do the plain forward passes that everything is compared with."""
    with torch.no_grad():
        for batch in batches:
            network(batch)


def batch_activations(network: nn.Module, batch: Tensor) -> int:
    """Return the bytes of all leaf layers' outputs in one forward pass."""
    total = 0

    def count(layer: nn.Module, inputs: Any, output: Any) -> None:
        nonlocal total
        total += sum(part.nbytes for part in (output if isinstance(output, tuple) else (output,)) if part is not None)

    leaves = [module for module in network.modules() if not list(module.children())]
    handles = [leaf.register_forward_hook(count) for leaf in leaves]
    run(network, [batch])
    for handle in handles:
        handle.remove()
    return total


def memory(peak: bool = False) -> int:
    """Return the process's resident bytes, now or at their peak since ``reset_peak`` (Linux)."""
    field = "VmHWM:" if peak else "VmRSS:"
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def reset_peak() -> None:
    """Let the peak start anew from what is resident now."""
    Path("/proc/self/clear_refs").write_text("5")


def main(
    models: Annotated[str, typer.Option(help=f"Comma-separated, of {', '.join(MODELS)}.")] = "resnet20_w1,resnet20_w4",
    neighbours: Annotated[str, typer.Option(help="Comma-separated numbers of neighbours, 1 to 10.")] = "1,4",
    images: Annotated[int, typer.Option(help="Images matched on.")] = 200,
    batch_size: int = 50,
    threads: int = 1,
    repeats: int = 3,
    clock: Annotated[str, typer.Option(help="wall, or cpu: processor time, for a busy machine.")] = "wall",
    json_path: Annotated[Path | None, typer.Option("--json", help="Where to write the figures.")] = None,
) -> None:
    """Print a table of costs and write it as JSON."""
    chosen = [(model, int(count)) for model in models.split(",") for count in neighbours.split(",")]
    results = []
    console = Console()
    for model, count in chosen:
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
            result = pool.submit(measure, model, count, images, batch_size, threads, repeats, clock).result()
        results.append(result)
        console.print(f"{model}, {count} neighbours: {result['ratio']:.2f} x", highlight=False)
    table = Table(title=f"merge of n neighbours, in forward passes of all n + 1 networks (limit {LIMIT})")
    for column in ("model", "n", "passes s", *STAGES, "total", "peak MB", "limit MB"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for result in results:
        table.add_row(
            result["model"],
            str(result["neighbours"]),
            f"{result['forward_seconds']:.2f}",
            *(f"{result['stages'][stage]:.2f}" for stage in STAGES),
            f"[{'green' if result['ratio'] <= LIMIT else 'red'}]{result['ratio']:.2f}[/]",
            f"{result['peak_bytes'] / 1e6:.0f}",
            f"{result['peak_limit_bytes'] / 1e6:.0f}",
        )
    Console(width=140).print(table)
    if json_path is not None:
        json_path.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    typer.run(main)
