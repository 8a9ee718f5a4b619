"""What goes with peers that come and go during a run, and what does not."""

from dimat_flwr.config.parts import Config


def membership_faults(config: Config) -> list[str]:
    """Return why the configuration does not go with places that are vacant at first, or with newcomers."""
    relay, problems = config.relay, []
    fewer = relay.min_peers is not None and relay.peers is not None and relay.min_peers < relay.peers
    if config.security.sign and (fewer or relay.join == "any_time"):
        which = "relay.min_peers below relay.peers" if fewer else "relay.join=any_time"
        problems.append(
            f"security.sign does not go with {which}: peers that sign meet all the others in exchange 0, and take no "
            "payload of anybody who comes later; set relay.join=start and leave relay.min_peers out"
        )
    if relay.join == "any_time" and not config.algorithm.takes_newcomers:
        problems.append(
            f"algorithm '{config.choices['algorithm']}' takes no newcomers: a peer cannot take part in it "
            "with a neighbour's model alone; set relay.join=start or choose another algorithm"
        )
    if relay.join == "any_time" and config.correction.needs_one_symmetric_mixing:
        problems.append(
            f"correction '{config.choices['correction']}' needs one mixing matrix for all rounds, and there is more "
            "than one when peers come during the run; set relay.join=start, or choose correction: none or proximal"
        )
    return problems


def graph_stays(config: Config) -> str:
    """Return why the graph is not drawn anew when a peer is lost; empty where it is."""
    if config.algorithm.needs_the_same_graph:
        return f"algorithm '{config.choices['algorithm']}' needs the same graph in all rounds"
    if config.correction.needs_one_symmetric_mixing:
        return f"correction '{config.choices['correction']}' needs the same graph in all rounds"
    return ""
