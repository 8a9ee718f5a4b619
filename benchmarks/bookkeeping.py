"""What the relay itself costs: planning, dispatching, reading reports and writing records, with peers that do nothing.

    python -m benchmarks.bookkeeping [--peers 100] [--rounds 1000] [--topology ring]

Prints the processor's seconds of bookkeeping in all, per round and per message; and, in a second part, the peak of
memory that planning 1,000 peers takes (a ring for 1,000 rounds, fully connected for 10).
"""

import argparse
import logging
import tempfile
import time
import tracemalloc
from collections.abc import Collection, Sequence
from datetime import datetime
from pathlib import Path

from flwr.app import RecordDict

from dimat_flwr.events import Evaluation, Final, Merge, Training
from dimat_flwr.records import RunFolder
from dimat_flwr.relay import Plan, RelaySettings, Reply, run_relay
from dimat_flwr.topology import Exchange, RoundView, Topology
from dimat_flwr.topology.fully_connected import FullyConnected
from dimat_flwr.topology.ring import Ring
from dimat_flwr.topology.schedules.always import Always
from dimat_flwr.wire import names
from dimat_flwr.wire.blob import to_record
from dimat_flwr.wire.instruction import read_instruction
from dimat_flwr.wire.report import Report

TOPOLOGIES: dict[str, type[Topology]] = {"ring": Ring, "fully_connected": FullyConnected}


class Averaging:
    """One exchange a round along the topology; as a final merge: none."""

    sums = "rows"

    def exchanges(self, view: RoundView) -> list[Exchange]:
        """See ``Plan``."""
        return [Exchange("merge", view.mixing)] if view.round <= view.rounds else []


def make_plan(topology: Topology, peers: int, rounds: int) -> Plan:
    """Return the plan of a run that averages along a topology."""
    return Plan(Averaging(), Averaging(), topology, Always(), peers, rounds, 0)


class InstantPost:
    """Peers that answer at once with a report of the usual size; counts the seconds that this takes."""

    simulation = True
    out_of_reach = 0.0

    def __init__(self, peers: int) -> None:
        """Prepare the answers of all peers."""
        self.peers, self.seconds, self.messages = peers, 0.0, 0
        self._blob = to_record(b"\0" * 1000)
        self._replies: dict[str, Reply] = {}

    def nodes(self) -> list[int]:
        """See ``Post``."""
        return list(range(self.peers))

    def send(self, node: int, kind: str, content: RecordDict) -> str:
        """See ``Post``."""
        began = time.process_time()
        self.messages += 1
        message_id = str(self.messages)
        reply = RecordDict({names.REPORT: Report(place=node).to_record()})
        if kind == names.EXCHANGE_MESSAGE:
            instruction = read_instruction(content[names.INSTRUCTION])
            sources = list(instruction.row.sources)[:20]
            events = [
                Merge(sources, [instruction.row.own, *list(instruction.row.sources.values())[:20]], 0.01),
                Evaluation("after_merge", 97.531, 96.25, 0.123456),
                Training(0.654321, 300, 10, 0.0123),
                Evaluation("after_training", 97.531, 96.25, 0.123456),
            ]
            if instruction.is_last:
                events.append(Final(97.5))
            reply = RecordDict({names.REPORT: Report(place=node, events=events).to_record()})
            if instruction.next and instruction.next.readers:
                reply[names.outbox(None)] = self._blob
        self._replies[message_id] = Reply(message_id, reply)
        self.seconds += time.process_time() - began
        return message_id

    def collect(self, ids: Sequence[str]) -> list[Reply]:
        """See ``Post``."""
        return [self._replies.pop(key) for key in ids]

    def forget(self, ids: Collection[str]) -> None:
        """See ``Post``."""


def measure_run(topology: Topology, peers: int, rounds: int) -> None:
    """Print what one run's bookkeeping takes."""
    post = InstantPost(peers)
    with tempfile.TemporaryDirectory() as output:
        folder = RunFolder.create(output, "bookkeeping", datetime.now())
        began = time.process_time()
        summary = run_relay(post, folder, lambda n: make_plan(topology, n, rounds), RelaySettings(), {})
        seconds = time.process_time() - began - post.seconds
        size = sum(path.stat().st_size for path in Path(folder.path).iterdir())
    what = f"{type(topology).__name__}, {peers} peers, {rounds} rounds"
    print(f"{what}: {summary['status']}, {size / 1e6:.0f} MB of records")
    print(f"  bookkeeping {seconds:.1f} s of a processor, {1e3 * seconds / rounds:.2f} ms a round, "
          f"{1e6 * seconds / post.messages:.0f} us a message")  # fmt: skip


def measure_plan(topology: Topology, peers: int, rounds: int) -> None:
    """Print the peak of memory of planning a run, reading every exchange once."""
    tracemalloc.start()
    began = time.perf_counter()
    plan = make_plan(topology, peers, rounds)
    edges = sum(planned.mixing.edge_count for planned in plan)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{type(topology).__name__}, {peers} peers, {rounds} rounds planned ({edges:,} messages): "
          f"peak {peak / 1e6:.1f} MB, {time.perf_counter() - began:.1f} s")  # fmt: skip


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=int, default=100)
    parser.add_argument("--rounds", type=int, default=1000)
    parser.add_argument("--topology", choices=sorted(TOPOLOGIES), default="ring")
    chosen = parser.parse_args()
    logging.getLogger("flwr").setLevel(logging.ERROR)
    measure_run(TOPOLOGIES[chosen.topology](), chosen.peers, chosen.rounds)
    measure_plan(Ring(), 1000, 1000)
    measure_plan(FullyConnected(), 1000, 10)


if __name__ == "__main__":
    main()
