"""What goes with differential privacy: what looks at samples otherwise than by private training is refused."""

from dimat_flwr.config.parts import Config


def privacy_faults(config: Config) -> list[str]:
    """Return what would tell of samples in a run that asks for privacy; nothing for one that does not."""
    if config.privacy.noise_multiplier is None:
        return []
    chosen = config.choices
    faults = [
        f"privacy: {group} '{chosen[group]}' looks at a peer's samples otherwise than by training, or does not say "
        f"that it does not (keeps_privacy), and noise is in training alone; {instead}"
        for group, part, instead in (
            ("algorithm", config.algorithm, "choose another, such as weight_averaging or weight_matching"),
            ("final_merge", config.final_merge, "choose none, uniform or gossip"),
            ("aggregation", config.aggregation, "choose another, such as mean or trimmed_mean"),
        )
        if not part.keeps_privacy
    ]
    if config.instruments.gradient:
        faults.append("privacy: instruments.gradient sends the gradient of all samples; set instruments.gradient=false")
    if config.dataset.measures_samples:
        faults.append(
            f"privacy: dataset '{chosen['dataset']}' standardizes by means and deviations of the samples themselves; "
            "set dataset.mean and dataset.std to numbers that are known without them"
        )
    if config.training.compile:
        faults.append("privacy: each sample's gradient is taken by hooks, which training.compile would leave out; "
                      "set training.compile=false")  # fmt: skip
    return faults
