"""A configuration as YAML is the same to whoever reads it back, and what OmegaConf wrote is the same to us."""

import math
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf
from omegaconf._utils import get_omega_conf_dumper, get_yaml_loader

from dimat_flwr.config.text import from_yaml, to_yaml

TRICKY = [
    "1e-3", "1E5", "0x1F", "0o17", "017", "1_000", "1__0e5", "0._E0", "on", "No", "TRUE", "Null", "~", "", "NaN",
    ".inf", "2026-11-29", "2026-11-29 10:00:00", "1:30", "190:20:30.15", "=", "<<", "!x", "&a", "*a", "- a",
    "a: b", "a #b", "%x", "@x", "`x", "|", ">", "'", '"', "\\", "\t", "a\tb", "a\nb", "a\r\nb", "\n a", " a",
    "a ", "é", "日本", "😀", "\u2028", "\x85", "\x00", "\ufeffa", "${a}", "???", "y", "N", "---", "[a]", "{a}",
    "word " * 60,
]  # fmt: skip
UNICODE = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=12)
TEXTS = st.sampled_from(TRICKY) | UNICODE | st.text(alphabet="0123456789eE_+-.:xob~", max_size=8)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS
KEYS = TEXTS | st.integers()
VALUES = st.dictionaries(
    KEYS, st.recursive(SCALARS, lambda some: st.lists(some, max_size=4) | st.dictionaries(KEYS, some, max_size=4))
)


def same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other or (isinstance(one, float) and math.isnan(one) and math.isnan(other))


@given(values=VALUES)
def test_every_reader_finds_what_was_written(values: dict[Any, Any]) -> None:
    text = to_yaml(values)
    assert same(from_yaml(text), values)
    for reader in (yaml.SafeLoader, get_yaml_loader()):
        assert same(yaml.load(text, Loader=reader), values)


@pytest.mark.parametrize("text", [text for text in TRICKY if text != "\x85"])  # which its dumper loses
def test_what_an_earlier_version_wrote_with_omegaconf_is_read(text: str) -> None:
    values = {"a": text, "b": [text], text: 1e-05}
    written = yaml.dump(values, Dumper=get_omega_conf_dumper(), allow_unicode=True, sort_keys=False)
    assert same(from_yaml(written), values)
    if "$" not in text and text != "???":
        assert same(OmegaConf.to_container(OmegaConf.create(to_yaml(values))), values)
