"""``dimat-flwr local``: a whole run in this process."""

import logging
import shlex
from pathlib import Path
from typing import Annotated

import typer

from dimat_flwr.cli.errors import told_in_one_line


def local(
    settings: Annotated[list[str] | None, typer.Argument(metavar="[KEY=VALUE]...")] = None,
    peers: Annotated[
        int | None,
        typer.Option("--peers", "-n", min=2, help="How many peers; 5, or as many as the run has that is gone on with."),
    ] = None,
) -> None:
    """Run all peers and the relay in this process, without Flower's transport; the numbers are those of flwr run.

    KEY=VALUE is what differs from the defaults: a choice (algorithm=sgp), a value (rounds=3) or anything in conf/
    (optimizer.lr=0.01).
    """
    from dimat_flwr.conf_dir import find_conf_dir
    from dimat_flwr.config.compose import RESUME, VALUES
    from dimat_flwr.config.resume import find_run
    from dimat_flwr.launch import REFUSALS, launch
    from dimat_flwr.local import LocalPost
    from dimat_flwr.records import load_summary
    from dimat_flwr.relay import run_relay

    # The relay speaks through Flower's logger; alone, it needs neither the level nor the colour.
    log = logging.getLogger("flwr")
    log.handlers = [logging.StreamHandler()]
    log.handlers[0].setFormatter(logging.Formatter("%(message)s"))
    log.setLevel(logging.INFO)
    words = settings or []
    with told_in_one_line(*REFUSALS):
        # Keys that a run-config has by themselves may be written as there (output-dir).
        own = (*VALUES, RESUME)
        named = dict(word.split("=", 1) for word in words if word.split("=", 1)[0] in own and "=" in word)
        rest = [word for word in words if "=" not in word or word.split("=", 1)[0] not in named]
        run_config = {**{key: _number(key, value) for key, value in named.items()}, "overrides": shlex.join(rest)}
        conf_dir = find_conf_dir()
        if peers is None:
            place = find_run(run_config, conf_dir)
            peers = load_summary(Path(place[0]).expanduser() / place[1])["peers"] if place else None
            peers = peers or 5
        command = shlex.join(["dimat-flwr", "local", "--peers", str(peers), *words])
        post = LocalPost(peers, run_config, conf_dir)
        launch(run_config, conf_dir, command, lambda *run: run_relay(post, *run))


def _number(key: str, value: str) -> str | int:
    return int(value) if key in ("seed", "rounds") and value.isdecimal() else value
