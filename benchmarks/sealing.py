"""What signing and sealing cost a peer, beside the training of a round: ResNet-20 on CIFAR-10 as in the DIMAT paper.

python benchmarks/sealing.py [--width 8] [--batches 3] [--device cpu]

Per round a peer of a ring publishes its model once, for two readers, and opens two neighbours' models. The blob is the
float32 codec's of the real network. The round is two epochs over a fifth of CIFAR-10, 2 x 10,000 images in minibatches
of 32: a few of them are measured (forward, backward, Adam's step, made-up images) after one that is not counted, and
the median stands for all 626. The alignment, the merge and the evaluation come on top and are left out, so the share is
an upper bound. The limit is 5 % of a round. Times are wall clock, on one thread.
"""

import os
import statistics
import time
from collections.abc import Callable
from typing import Annotated

import torch
import typer
from rich.console import Console

from dimat_flwr.models.cifar_resnet import ResNet20
from dimat_flwr.security.identity import Identity, Introduction, new_nonce
from dimat_flwr.security.protection import Protection
from dimat_flwr.wire.codecs.base import Passage
from dimat_flwr.wire.codecs.float32 import Float32
from dimat_flwr.wire.payload import Expected, Payload

LIMIT = 0.05
IMAGES, EPOCHS, BATCH_SIZE = 10_000, 2, 32
REPEATS = 5
SOURCE, READERS = 1, (0, 2)


def minibatch_seconds(network: torch.nn.Module, batches: int, device: torch.device) -> float:
    """Return the median time of a minibatch."""
    network = network.to(device).train()
    optimizer = torch.optim.Adam(network.parameters())
    images, labels = torch.randn(BATCH_SIZE, 3, 32, 32, device=device), torch.arange(BATCH_SIZE, device=device) % 10

    def minibatch() -> None:
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    minibatch()
    return median_seconds(minibatch, batches)


def median_seconds(work: Callable[[], object], times: int) -> float:
    """Return the median wall time of some work."""
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        spent.append(time.perf_counter() - began)
    return statistics.median(spent)


def protections(heard: dict[str, int], seal: bool) -> dict[int, Protection]:
    """Return three peers' protections."""
    identities = {place: Identity.new() for place in (SOURCE, *READERS)}
    nonces = {place: new_nonce() for place in identities}
    said = {place: str(Introduction(own.public, nonces[place], seal)) for place, own in identities.items()}
    return {
        place: Protection(own, place, nonces[place], {j: said[j] for j in said if j != place}, heard, seal=seal)
        for place, own in identities.items()
    }


def main(
    width: int = 8,
    batches: Annotated[int, typer.Option(min=1, help="Minibatches that are measured.")] = 3,
    device: str = "cpu",
) -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    console, codec = Console(), Float32()
    network = ResNet20(num_classes=10, in_channels=3, width=width)
    tensors = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    passage = Passage("benchmark", 1, "merge", SOURCE, None)
    blob = codec.encode(Payload(tensors), passage, {}, READERS)
    batch = minibatch_seconds(network, batches, torch.device(device))
    count = EPOCHS * -(-IMAGES // BATCH_SIZE)
    training = count * batch
    console.print(
        f"ResNet-20, width {width}: a blob of {len(blob) / 1e6:.1f} MB; a minibatch of {BATCH_SIZE} on {device} takes "
        f"{batch:.3f} s (median of {batches}), the {count} of a round {training:.0f} s; {os.cpu_count()} cores, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    encode = median_seconds(lambda: codec.encode(Payload(tensors), passage, {}, READERS), REPEATS)
    decode = median_seconds(lambda: codec.decode(blob, passage, Expected(tensors), {}), REPEATS)
    console.print(f"for comparison, the codec alone: encode {encode:.3f} s, decode {decode:.3f} s")
    for seal in (False, True):
        heard: dict[str, int] = {}
        peers = protections(heard, seal)
        sent = peers[SOURCE].protect(blob, passage, codec, READERS)
        protect = median_seconds(lambda: peers[SOURCE].protect(blob, passage, codec, READERS), REPEATS)  # noqa: B023

        def read() -> None:
            heard.clear()  # noqa: B023 - else it is a replay
            if peers[READERS[0]].open(sent, passage, codec) != blob:  # noqa: B023
                raise AssertionError("what was opened is not what was published")

        opened = median_seconds(read, REPEATS)
        cost = protect + len(READERS) * opened
        told = f"{'sign and seal' if seal else 'sign only'}: publish {protect:.3f} s, open {opened:.3f} s"
        share = f"{cost:.3f} s a round, [bold]{cost / training:.2%}[/] of its training"
        limit = f"limit {LIMIT:.0%}, kept where a round takes {cost / LIMIT:.1f} s or more"
        console.print(f"{told}; {share} ({limit}); {len(sent) - len(blob)} bytes more")


if __name__ == "__main__":
    typer.run(main)
