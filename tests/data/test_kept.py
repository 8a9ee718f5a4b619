"""What a process keeps: one of each, also where more peers have files of their own than a small cache has room for."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from dimat_flwr.data import Kept
from dimat_flwr.data.arrays import Npz
from dimat_flwr.data.partitions.own import Own
from dimat_flwr.peer import caches


def test_the_latest_are_kept_as_many_as_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    def make(number: int) -> list[int]:
        made.append(number)
        return [number]

    monkeypatch.setattr(Kept, "room", 2)
    kept = Kept(make)
    first = kept(0)
    assert kept(1) == [1]
    assert kept(0) is first
    assert kept(2) == [2]
    assert kept(0) is first  # used after 1, which had to go
    assert kept(1) == [1]
    assert made == [0, 1, 2, 1]
    Kept.make_room(4)
    Kept.make_room(3)
    for _ in range(2):
        assert [kept(number)[0] for number in range(4)] == [0, 1, 2, 3]
    assert made == [0, 1, 2, 1, 2, 3]
    kept.cache_clear()
    assert kept(0) is not first


def test_each_of_many_peers_files_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = Kept.room + 3
    inputs, labels = np.zeros((10, 3), np.float32), np.arange(10) % 2
    for peer in range(peers):
        (tmp_path / str(peer)).mkdir()
        np.savez(tmp_path / str(peer) / "data.npz", inputs=inputs + peer, labels=labels)
    reads: Counter[str | None] = Counter()
    read = Npz.read
    monkeypatch.setattr(Npz, "read", lambda source: reads.update([source.data_dir]) or read(source))
    monkeypatch.setattr(Kept, "room", Kept.room)  # as it was, for other tests
    source, device = Npz(data_dir=str(tmp_path / "{peer}"), shape=(3,), num_classes=2), torch.device("cpu")
    for _ in range(2):
        for peer in range(peers):
            data = caches.own_data(source.of(peer), Own(), peers, 0, peer, device)
            assert data.inputs.unique().tolist() == [peer]
            caches.held_out_data(source.of(peer), device)
    assert len(reads) == peers
    assert set(reads.values()) == {1}
