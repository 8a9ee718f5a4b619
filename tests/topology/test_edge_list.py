"""The edge-list file: what it accepts, and that each error names file, line and remedy."""

import pytest

from dimat_flwr.topology import Row, TopologyError
from dimat_flwr.topology.edge_list import EdgeList


def written(tmp_path, text):
    path = tmp_path / "edges.txt"
    path.write_text(text, encoding="utf-8")
    return path


def test_reads_blanks_commas_comments_blank_lines_and_a_byte_order_mark(tmp_path):
    path = written(tmp_path, "\ufeff# my lab\n0 1\n\n1,2  # the slow link\n 2 , 3\n3\t0\n3 0\n")
    edges = set(EdgeList(path=str(path)).graph(4, 0, 0).edges)
    assert edges == {(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2), (3, 0), (0, 3)}


def test_directed_edges_let_only_the_second_read(tmp_path):
    topology = EdgeList(path=str(written(tmp_path, "0 1\n1 2\n2 0\n")), directed=True)
    assert set(topology.graph(3, 0, 0).edges) == {(0, 1), (1, 2), (2, 0)}
    assert topology.mixing(3, 0, 0).row(1) == Row(0.5, {0: 0.5})


def test_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    written(tmp_path, "0 1")
    assert EdgeList(path="~/edges.txt").graph(2, 0, 0).number_of_edges() == 2


@pytest.mark.parametrize("line", ["0", "0 1 0.5", "a b", "0,,1", "-1 0", "0 1.0", "0 ²", "source,target"])
def test_a_malformed_line_is_named_with_its_file(tmp_path, line):
    path = written(tmp_path, f"0 1\n# fine\n{line}\n")
    with pytest.raises(TopologyError, match=r"edges\.txt, line 3: expected two peer indices") as caught:
        EdgeList(path=str(path)).graph(3, 0, 0)
    assert str(path) in str(caught.value)


def test_a_self_loop_is_named(tmp_path):
    with pytest.raises(TopologyError, match=r"edges\.txt, line 2: peer 1 is linked to itself"):
        EdgeList(path=str(written(tmp_path, "0 1\n1 1\n"))).graph(2, 0, 0)


def test_all_unknown_peers_are_listed(tmp_path):
    path = written(tmp_path, "0 1\n1 5\n2 9\n9 0\n")
    with pytest.raises(
        TopologyError, match=r"do not exist: 5, 9 \(line 2, 3, 4\); with 3 peers the indices are 0\.\.2"
    ):
        EdgeList(path=str(path)).graph(3, 0, 0)


def test_a_disconnected_graph_names_its_parts(tmp_path):
    with pytest.raises(TopologyError, match=r"2 parts.*\{0, 1\}; \{2, 3, 4\}; add edges between"):
        EdgeList(path=str(written(tmp_path, "0 1\n2 3\n3 4\n"))).graph(5, 0, 0)
    with pytest.raises(TopologyError, match=r"3 parts.*\{0\}; \{1\}; \{2\}"):
        EdgeList(path=str(written(tmp_path, "# nothing\n"))).graph(3, 0, 0)


def test_a_directed_graph_must_be_strongly_connected(tmp_path):
    with pytest.raises(TopologyError, match=r"\{0, 1\}; \{2\}; make the graph strongly connected"):
        EdgeList(path=str(written(tmp_path, "0 1\n1 0\n1 2\n")), directed=True).graph(3, 0, 0)


def test_a_path_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(TopologyError, match=r"set topology\.path="):
        EdgeList().graph(3, 0, 0)
    with pytest.raises(TopologyError, match=r"missing\.txt: No such file.*check topology\.path"):
        EdgeList(path=str(tmp_path / "missing.txt")).graph(3, 0, 0)
    with pytest.raises(TopologyError, match="Is a directory"):
        EdgeList(path=str(tmp_path)).graph(3, 0, 0)
    (tmp_path / "model.bin").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(TopologyError, match=r"model\.bin: not a text file"):
        EdgeList(path=str(tmp_path / "model.bin")).graph(3, 0, 0)
