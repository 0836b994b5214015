"""For each claim with a study: runs that must make it hold, and runs that must refute it."""

import numpy as np

GOOD, BAD = 2.0, 2.95  # train losses on both sides of 0.9 of an uninformed loss of 3


def jitter(changes):
    """A small difference between seeds and arms, so that no spread is 0."""
    return 0.002 * (changes.get("seed", 10) - 12) + 0.001 * np.sin(10 * changes.get("peak_lr", 0.1))


def ends(train, test=None, accuracy=0.5):
    return {1: {"train/loss": 3.2}, 400: {"train/loss": train, "eval/loss": test or train, "eval/accuracy": accuracy}}


def where(trains):
    """Runs that train where a condition on their values is met."""
    return lambda changes: ends((GOOD if trains(changes) else BAD) + jitter(changes))


def losses(of):
    """Runs that train, to a test loss."""
    return lambda changes: ends(GOOD, of(changes) + jitter(changes))


def up_to(largest):
    """Runs that train up to a rate, a function of their values, and diverge above."""
    return lambda changes: ends(0.1 if changes["peak_lr"] <= largest(changes) else float("nan"), 0.1)


def every_step(of_step, probes=()):
    """Lines of every update, with the losses [T] after 0 to T - 1 updates, and metrics of probes."""
    lines = {t + 1: {"train/loss": float(loss)} for t, loss in enumerate(of_step)}
    for t, metrics in dict(probes).items():
        lines.setdefault(t, {}).update({key: float(value) for key, value in metrics.items()})
    return lines


def overfitting(fresh_without):
    def series(changes):
        fresh = (fresh_without if changes["warmup_steps"] == 0 else 0.9) + jitter(changes)
        probes = {t: {"diag/decrease_used": 1.0, "diag/decrease_fresh": fresh} for t in range(1, 21)}
        return every_step(np.full(20, GOOD), probes)

    return series


def first_steps(collapse=True, noise=True, large=True):
    """The first 300 updates: gradients that collapse, noise that falls, updates that are too large at first."""

    def series(changes):
        none, factor = changes["warmup_steps"] == 0, 1 + jitter(changes)
        lines = {t: {} for t in range(301)}
        for t in range(1, 301):
            size = 0.06 * 100 * factor  # rate times the root of the number of parameters
            later = 0.1 if large and t > 1 else 1.0
            lines[t] = {
                "train/loss": 2.5,
                "opt/learning_rate": 0.06,
                "diag/update_norm": size * later,
            }
        gradient = 1e-3 if none and collapse else factor
        lines[11] |= {f"diag/grad_norm/decoder_{layer}": gradient for layer in range(6)}
        lines[10]["diag/relative_distance_init"] = (0.16 if none and large else 0.01) * factor
        for t in (0, 20, 300):
            trace = 2.0 if t == 0 else 0.1 if noise else 1.9
            lines[t] |= {
                "diag/noise_trace": trace * factor,
                "diag/noise_scale": (1.0 if t == 0 or not noise else 40.0) * factor,
            }
        return lines

    return series


def sharpening(standard, mup, gain):
    def series(changes):
        is_standard = changes["parametrisation"] == "standard"
        trains = up_to(lambda c: 2.0**-5 * (1 if c["warmup_steps"] == 0 else 2.0 ** (gain if is_standard else 2)))
        lines = trains(changes)
        for step, factor in ((0, 1.0), (256, standard if is_standard else mup)):
            lines.setdefault(step, {})["diag/sharpness"] = 100 * factor * (1 + jitter(changes))
        return lines

    return series


def crossings(stabilises):
    def series(changes):
        t = np.arange(256)
        of_step, sharpness = 1 / (1 + t / 10), np.full(257, 100.0)
        ratios = np.full(257, 0.9)
        if changes["peak_lr"] >= 2.0**-4:
            ratios[50:60] = 1.2
            of_step[60:65] = 1.0 if stabilises else 2.0
            if stabilises:
                sharpness[60:] = 20.0
            else:
                of_step[60:] = 2.0
        probes = {s: {"diag/sharpness": sharpness[s], "diag/stability_ratio": ratios[s] * (s > 0)} for s in range(257)}
        return every_step(of_step, probes)

    return series


def thresholds(c):
    def series(changes):
        sharpness = 100 * (1 + jitter(changes))
        return {0: {"diag/sharpness": sharpness, "diag/critical_rate": c(changes) / 100}, 1: {"train/loss": 0.1}}

    return series


def slopes(of_mup):
    def series(changes):
        of_step = np.exp(-np.arange(256) / 50)
        sign = of_mup if changes["parametrisation"] == "mup" else 1
        noise = 0.05 * np.random.default_rng(changes["seed"]).normal(size=256)
        return every_step(of_step, {t: {"diag/sharpness": 10 + sign * (of_step[t] + noise[t])} for t in range(256)})

    return series


def sensitivities(grows):
    def series(changes):
        width = int(changes["arm"].removeprefix("width"))
        penalty = 10 * changes["peak_lr"] * width / 48 * ((changes["warmup_steps"] == 0) == grows)
        return ends(GOOD, 2.5 + penalty + jitter(changes))

    return series


def learning(paces):
    """Losses that fall with a time constant for each placement of the normalisation."""

    def series(changes):
        if changes["peak_lr"] != 6e-3 or changes["norm"] not in paces:
            return ends(GOOD)  # not looked at
        lines = every_step(GOOD + 1.2 * np.exp(-np.arange(400) / (paces[changes["norm"]] * (1 + jitter(changes)))))
        lines[400] |= {"eval/loss": GOOD}
        return lines

    return series


def by_rate_and_length(of_rate, of_length):
    """Final losses that differ by rates and lengths; runs up to 1/8 train."""

    def series(changes):
        loss = 1 + of_rate * np.log2(changes["peak_lr"]) + of_length * changes["warmup_steps"] / 64 + jitter(changes)
        return ends(loss if changes["peak_lr"] <= 1 / 8 else float("nan"))

    return series


def preconditioned(fall):
    def series(changes):
        first = 1e5 * (1 + jitter(changes))
        metric = "diag/preconditioned_sharpness"
        return {1: {"train/loss": 1.0, metric: first}, 200: {"train/loss": 0.1, metric: first / fall}}

    return series


def accuracies(radam_range):
    def series(changes):
        width = 0.3 if changes["optimizer"] == "adam" else radam_range
        place = np.log10(changes["peak_lr"] / 0.003) / np.log10(0.1 / 0.003)
        return ends(GOOD, accuracy=0.95 - width * place + jitter(changes))

    return series


SUFFICIENT = {1e-3: 0, 3e-3: 50, 6e-3: 100, 1e-2: 200}
# id: (runs that make it hold, runs that refute it)
CASES = {
    "S-1": (overfitting(0.2), overfitting(0.85)),
    "S-3": (first_steps(), first_steps(noise=False)),
    "C-6": (accuracies(0.1), accuracies(0.32)),
    "C-7": (where(lambda c: True), where(lambda c: c["warmup_steps"] > 0)),
    "T-1": (where(lambda c: c["warmup_steps"] >= SUFFICIENT[c["peak_lr"]]), where(lambda c: True)),
    "T-2": (
        losses(lambda c: 0.2 * (c["peak_lr"] == 3e-2 and c["warmup_steps"] == 0) + 2),
        losses(lambda c: 0.3 * (c["warmup_steps"] == 0) + 2),
    ),
    "T-3": (learning({"post": 60, "pre": 20}), learning({"post": 20, "pre": 20})),
    "T-6": (losses(lambda c: 2.3 if c["warmup_steps"] == 0 else 2.0), losses(lambda c: 2.0)),
    "T-7": (
        where(lambda c: c["norm"] == "pre" or c["optimizer"] == "radam"),
        where(lambda c: c["norm"] == "pre"),
    ),
    "T-8": (where(lambda c: c["warmup_steps"] >= 200 * c["scale"]), where(lambda c: True)),
    "R-1": (where(lambda c: c["warmup_steps"] > 0), where(lambda c: True)),
    "R-2": (first_steps(), first_steps(collapse=False)),
    "R-3": (where(lambda c: c["n"] > 0), where(lambda c: False)),
    "R-4": (where(lambda c: c["arm"].endswith("schedule999")), where(lambda c: c["arm"].startswith("v999"))),
    "R-5": (losses(lambda c: 2.0), losses(lambda c: 2.0 + 0.3 * (c["arm"] == "linear"))),
    "R-6": (first_steps(), first_steps(large=False)),
    "A-1": (
        losses(lambda c: 2.0),
        where(lambda c: c["norm"] != "none" or c["warmup_steps"] > 0),
    ),
    "A-4": (learning({"rezero": 20, "pre": 60}), learning({"rezero": 60, "pre": 20})),
    "K-1": (up_to(lambda c: 2.0**-5 * (1 + c["warmup_steps"])), up_to(lambda c: 2.0**-5)),
    "K-2": (by_rate_and_length(-0.1, 0.01), by_rate_and_length(-0.01, 0.1)),
    "K-3": (sharpening(0.5, 1.2, gain=4), sharpening(1.5, 0.9, gain=1)),
    "K-4": (crossings(True), crossings(False)),
    "K-5": (thresholds(lambda c: 2.2 + 50 * c["depth"] / c["width"]), thresholds(lambda c: 1.0 + c["width"] / 256)),
    "K-8": (preconditioned(fall=100), preconditioned(fall=5)),
    "K-9": (
        lambda c: ends(GOOD if c["peak_lr"] < 0.1 else BAD if c["peak_lr"] < 100 else float("nan")),
        up_to(lambda c: 1e-2),
    ),
    "K-10": (where(lambda c: c["optimizer"] == "gi_adam"), where(lambda c: True)),
    "K-12": (
        up_to(lambda c: 2.0 ** (-5 - 3 * (c["momentum"] > 0)) if c["warmup_steps"] == 0 else 0.5),
        up_to(lambda c: 2.0**-5 if c["warmup_steps"] == 0 else 0.5),
    ),
    "K-14": (slopes(of_mup=1), slopes(of_mup=-1)),
    "U-1": (
        losses(lambda c: 2.0 + 5 * c["peak_lr"] * (c["warmup_steps"] == 0)),
        losses(lambda c: 2.0),
    ),
    "U-5": (sensitivities(grows=True), sensitivities(grows=False)),
    "U-6": (losses(lambda c: 2.0 - 0.01 * (c["arm"] == "sqrt")), losses(lambda c: 2.0 + 0.3 * (c["arm"] == "sqrt"))),
    "U-7": (where(lambda c: c["warmup_steps"] > 0), where(lambda c: True)),
    "U-10": (where(lambda c: c["warmup_steps"] > 0), where(lambda c: True)),
    "U-8": (losses(lambda c: 2.0 + 0.2 * (c["warmup_steps"] == 0)), losses(lambda c: 2.0)),
}
