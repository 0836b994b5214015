"""Title, unit and meaning of every metric that a run logs."""

from typing import NamedTuple


class Label(NamedTuple):
    """Name of a metric for readers.

    title: of a panel, as "Gradient norm".
    axis: quantity and unit for its axis, as "loss [nats]"; a quantity without a unit stands alone.
    sentence: one sentence on what is measured and how to read it.
    log: True if a logarithmic axis suits it once its values span decades.
    """

    title: str
    axis: str
    sentence: str
    log: bool = False


CURVATURE = "Largest curvature of the loss in any direction."
# Metrics without a layer.
LABELS = {
    "opt/learning_rate": Label("Learning rate", "learning rate", "The rate that each update applied."),
    "opt/grad_norm": Label(
        "Gradient norm", "norm", "Length of the gradient of the batch before it is clipped.", log=True
    ),
    "train/loss": Label("Train loss", "loss", "Loss of each training batch before its update.", log=True),
    "train/accuracy": Label("Train accuracy", "accuracy [%]", "Share of correct predictions, each training batch."),
    "train/tokens": Label("Tokens of a batch", "tokens", "Number of labels in a training batch, without padding."),
    "train/diverged_at": Label(
        "Divergence", "update", "First update at which the loss or the gradient of a run was not finite."
    ),
    "eval/loss": Label("Test loss", "loss", "Loss over the whole test split.", log=True),
    "eval/accuracy": Label("Test accuracy", "accuracy [%]", "Share of correct predictions, whole test split."),
    "eval/perplexity": Label(
        "Test perplexity",
        "perplexity",
        "Exponential of the test loss: the number of tokens it is like guessing among.",
        log=True,
    ),
    "eval/bleu": Label("Test BLEU", "BLEU", "BLEU of the decoded test set against its references, 0 to 100."),
    "eval/exact_match": Label(
        "Exact matches", "exact matches [%]", "Share of decoded texts that equal their reference."
    ),
    "perf/examples_per_second": Label("Examples a second", "examples / s", "Training examples of all runs a second."),
    "perf/tokens_per_second": Label("Tokens a second", "tokens / s", "Training tokens of all runs a second."),
    "diag/sharpness": Label(
        "Sharpness",
        "largest eigenvalue of the Hessian",
        f"{CURVATURE} Plain gradient descent becomes unstable above 2 / rate.",
        log=True,
    ),
    "diag/sharpness_error": Label(
        "Error bound of the sharpness", "error", "An eigenvalue lies within this distance of the sharpness.", log=True
    ),
    "diag/stability_ratio": Label(
        "Rate x sharpness / 2",
        "rate x sharpness / 2",
        "Above 1 plain gradient descent overshoots along the direction of the largest curvature.",
        log=True,
    ),
    "diag/edge_ratio": Label(
        "Sharpness over its stable limit",
        "sharpness / limit",
        "Sharpness over the largest that gradient descent with this momentum tolerates; 1 is the edge of stability.",
        log=True,
    ),
    "diag/preconditioned_sharpness": Label(
        "Preconditioned sharpness",
        "largest eigenvalue",
        "Curvature of the loss in the coordinates that Adam's second moment scales.",
        log=True,
    ),
    "diag/preconditioned_sharpness_error": Label(
        "Error bound of the preconditioned sharpness",
        "error",
        "An eigenvalue lies within this distance of the preconditioned sharpness.",
        log=True,
    ),
    "diag/preconditioned_edge_ratio": Label(
        "Preconditioned sharpness over its stable limit",
        "sharpness / limit",
        "Preconditioned sharpness over the largest that Adam tolerates at this rate; 1 is the edge of stability.",
        log=True,
    ),
    "diag/noise_trace": Label(
        "Gradient noise",
        "trace of the covariance",
        "Variance of the gradient of a single example, summed over all parameters.",
        log=True,
    ),
    "diag/noise_squared_norm": Label(
        "Gradient signal",
        "squared norm of the mean",
        "Estimated square of the noise-free gradient's length; an estimate may be below 0.",
        log=True,
    ),
    "diag/noise_scale": Label(
        "Noise scale",
        "batch size [examples]",
        "Gradient noise over signal: the batch size at which the two are equally large.",
        log=True,
    ),
    "diag/signal_to_noise": Label(
        "Signal to noise",
        "signal / noise",
        "Gradient signal over the noise that is left in the measured batch.",
        log=True,
    ),
    "diag/rho": Label(
        "Length of Adam's average",
        "rho [updates]",
        "Number of equally weighted gradients to which Adam's second moment amounts (RAdam's rho).",
    ),
    "diag/rectifier": Label(
        "RAdam's rectifier",
        "factor",
        "The factor by which RAdam reduces the rate while its second moment is uncertain.",
    ),
    "diag/decrease_used": Label(
        "Decrease on the used batch", "decrease of the loss", "By how much an update lowers the loss of its own batch."
    ),
    "diag/decrease_fresh": Label(
        "Decrease on a fresh batch",
        "decrease of the loss",
        "By how much an update lowers the loss of a batch that it has not seen.",
    ),
    "diag/decrease_ratio": Label(
        "Decrease, fresh over used",
        "fresh / used",
        "Near 1 an update helps unseen data as much as its own batch; near 0 or below it overfits to that batch.",
    ),
    "diag/critical_rate": Label(
        "Critical rate",
        "learning rate",
        "The smallest rate at which one step of plain gradient descent raises the loss.",
        log=True,
    ),
    "diag/critical_rate_passes": Label(
        "Cost of the critical rate", "forward passes", "Forward passes that the search for the critical rate took."
    ),
}
# Sentences where the optimizer, of the name that is filled in, is not plain gradient descent.
OTHER_SENTENCES = {
    "diag/sharpness": f"{CURVATURE} Not a limit for {{optimizer}}",
    "diag/stability_ratio": "1 is no limit for {optimizer}",
}
PRECONDITIONED = ": measure preconditioned_sharpness."  # where the optimizer divides by a second moment as Adam does
# Metrics with a value for each layer, "diag/NAME/LAYER", and for most of them a total "diag/NAME".
FAMILIES = {
    "grad_norm": Label("Gradient norm", "norm", "Length of the gradient before it is clipped.", log=True),
    "param_norm": Label("Weight norm", "norm", "Length of the weights before each update.", log=True),
    "update_norm": Label("Update norm", "norm", "Length of the update that is added to the weights.", log=True),
    "relative_update": Label(
        "Relative update",
        "|update| / |weights|",
        "Length of each update over the length of the weights.",
        log=True,
    ),
    "angle": Label("Angle of the update", "angle [rad]", "Angle by which each update turns the weights.", log=True),
    "distance_init": Label(
        "Distance from the initial weights",
        "distance",
        "How far the weights have moved since initialisation.",
        log=True,
    ),
    "distance_warmup": Label(
        "Distance from the end of the warmup",
        "distance",
        "How far the weights have moved since the warmup ended.",
        log=True,
    ),
    "relative_distance_init": Label(
        "Relative distance from the initial weights",
        "distance / |initial weights|",
        "How far the weights have moved since initialisation, over their length then.",
        log=True,
    ),
    "relative_distance_warmup": Label(
        "Relative distance from the end of the warmup",
        "distance / |weights then|",
        "How far the weights have moved since the warmup ended, over their length then.",
        log=True,
    ),
    "cka_init": Label(
        "Similarity to the initial representation",
        "linear CKA",
        "1 where a layer represents the examples as it did at initialisation, 0 where nothing is left of that.",
    ),
    "cka_warmup": Label(
        "Similarity to the representation after the warmup",
        "linear CKA",
        "1 where a layer represents the examples as it did at the end of the warmup, 0 where nothing is left of that.",
    ),
    "dead_units": Label("Dead units", "share of ReLUs [%]", "Share of the ReLU units that fire for no example."),
    "token_variance": Label(
        "Token variance",
        "variance between tokens",
        "Share of a layer's output that differs between the tokens of a row; 0 once all tokens have become alike.",
        log=True,
    ),
}
RATE = "Adam's effective rate 1 / (sqrt(v) + eps)"
FAMILIES |= {
    f"adaptive_rate_{part}": Label(f"Adaptive rate, {title}", axis, f"{sentence} {RATE}.", log=True)
    for part, title, axis, sentence in (
        ("min", "minimum", "1 / gradient", "The smallest, over the parameters, of"),
        ("q05", "5 % quantile", "1 / gradient", "5 % of the parameters have a smaller value of"),
        ("median", "median", "1 / gradient", "Half of the parameters have a smaller value of"),
        ("q95", "95 % quantile", "1 / gradient", "95 % of the parameters have a smaller value of"),
        ("max", "maximum", "1 / gradient", "The largest, over the parameters, of"),
        ("mean", "mean", "1 / gradient", "Mean over the parameters of"),
        ("variance", "variance", "1 / gradient squared", "Variance over the parameters of"),
    )
}
