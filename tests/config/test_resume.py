"""What a run is gone on with: its own run-config, with what is given now."""

from pathlib import Path
from typing import Any

import pytest

from dimat_flwr.config import ConfigError, load_config
from dimat_flwr.config.choice import build_choice
from dimat_flwr.config.resume import with_news
from dimat_flwr.topology import Topology

CONF = Path(__file__).resolve().parents[2] / "conf"


@pytest.mark.parametrize("old", ["rounds=3", "++rounds=3 data_dir=/old", "'rounds=3' \"data_dir='/an old'\""])
@pytest.mark.parametrize("folder", ["/new", '/it\'s a \\ "new" one', "~/x\\'", "5"])
def test_a_value_given_now_wins_over_an_override_of_before(old: str, folder: str) -> None:
    before: dict[str, Any] = {"rounds": 2, "overrides": f"{old} optimizer.lr=0.5"}
    config = load_config(with_news(before, {"rounds": 6, "data-dir": folder, "overrides": ""}), {}, CONF)
    assert (config.rounds, config.data_dir) == (6, folder)
    assert "lr: 0.5" in config.text
    later = with_news(before, {"rounds": 6, "overrides": "rounds=7"})
    assert load_config(later, {}, CONF).rounds == 7
    assert with_news(before, {"rounds": "", "overrides": ""})["overrides"] == before["overrides"]
    with pytest.raises(ConfigError, match="No closing quotation"):
        with_news({"overrides": "name='x"}, {"rounds": 6})


def test_a_part_s_settings_may_hold_quotes_and_spaces() -> None:
    part: Any = build_choice("topology", "edge_list", ["path='/a b/it\\'s.txt'"], CONF, Topology)  # type: ignore[type-abstract]
    assert part.path == "/a b/it's.txt"
