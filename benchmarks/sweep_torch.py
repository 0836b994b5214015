"""PyTorch's side of sweep.py: the runs of a fully connected network one after another, or several stacked."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

# Runs in a batched product. On one core 1 to 8 took the same time per run within 10 %, and 72 took 1.5 times as long.
STACKED = 4


def train(task):
    """Trains the runs of a task and returns their final losses and accuracies, in order."""
    torch.set_num_threads(len(task["cores"]))
    config, changes = task["config"], task["changes"]
    examples = load(f"{task['folder']}/data.npz", config["batch_size"])
    every, steps = config["log_every"], task["steps"]
    logged = {t for t in range(steps) if (t + 1) % every == 0 or t in (0, steps - 1)}
    sizes = [
        examples["inputs"].shape[1],
        *[config["model"]["width"]] * (config["model"]["depth"] - 1),
        examples["targets"].shape[1],
    ]
    side, lanes = (train_stacked, STACKED) if task["side"] == "stacked" else (train_one, 1)
    found = [
        run
        for first in range(0, len(changes), lanes)
        for run in side(changes[first : first + lanes], sizes, examples, steps, logged)
    ]
    return dict(
        parameters=sum(p.numel() for p in network(sizes, 0).parameters()),
        lanes=lanes,
        losses=[losses[-1] for losses, _ in found],
        accuracies=[accuracy for _, accuracy in found],
    )


def load(path, batch_size):
    """Returns the one batch of all updates, flattened and with one-hot labels, and the test split."""
    with np.load(path) as arrays:
        inputs, labels, test_inputs, test_labels = (
            torch.from_numpy(arrays[name]) for name in ("train_inputs", "train_labels", "test_inputs", "test_labels")
        )
    targets = F.one_hot(labels.long()).float()
    return dict(
        inputs=inputs.flatten(1)[:batch_size],
        targets=targets[:batch_size],
        test_inputs=test_inputs.flatten(1),
        test_labels=test_labels,
    )


def network(sizes, seed):
    """Returns linear layers with ReLU between them, with He-normal kernels and zero biases."""
    torch.manual_seed(seed)
    layers = []
    for incoming, outgoing in zip(sizes, sizes[1:]):
        layers += [nn.Linear(incoming, outgoing), nn.ReLU()]
        nn.init.kaiming_normal_(layers[-2].weight)
        nn.init.zeros_(layers[-2].bias)
    return nn.Sequential(*layers[:-1])


def rate(run, t):
    """Returns the learning rate of update t, counted from 0."""
    return run["peak_lr"] * min(1.0, (t + 1) / max(run["warmup_steps"], 1))


def train_one(runs, sizes, examples, steps, logged):
    """Trains one run in the usual way; returns [(logged losses, test accuracy)]."""
    (run,) = runs
    model = network(sizes, run["seed"])
    optimizer = torch.optim.SGD(model.parameters(), lr=run["peak_lr"], fused=True)
    inputs, targets, losses = examples["inputs"], examples["targets"], []
    for t in range(steps):
        optimizer.param_groups[0]["lr"] = rate(run, t)
        optimizer.zero_grad()
        loss = F.mse_loss(model(inputs), targets, reduction="sum") / (2 * len(targets))
        loss.backward()
        optimizer.step()
        if t in logged:
            losses.append(loss.item())
    with torch.no_grad():
        right = model(examples["test_inputs"]).argmax(-1) == examples["test_labels"]
    return [(losses, right.float().mean().item())]


def train_stacked(runs, sizes, examples, steps, logged):
    """Trains R runs at once, with parameters [R, ...]; returns (logged losses, test accuracy) of each."""
    layers = [[layer for layer in network(sizes, run["seed"]) if isinstance(layer, nn.Linear)] for run in runs]
    kernels = [torch.stack([of_run.weight.T for of_run in layer]).detach().requires_grad_() for layer in zip(*layers)]
    biases = [torch.stack([of_run.bias[None] for of_run in layer]).detach().requires_grad_() for layer in zip(*layers)]
    rates = torch.tensor([[rate(run, t) for run in runs] for t in range(steps)])[..., None, None]
    targets, kept = examples["targets"], []

    def forward(x):
        x = x.expand(len(runs), *x.shape)
        for index, (kernel, bias) in enumerate(zip(kernels, biases)):
            x = torch.baddbmm(bias, F.relu(x) if index else x, kernel)
        return x

    for t in range(steps):
        losses = (forward(examples["inputs"]) - targets).square().sum((1, 2)) / (2 * len(targets))
        grads = torch.autograd.grad(losses.sum(), kernels + biases)
        with torch.no_grad():
            for parameter, grad in zip(kernels + biases, grads):
                parameter.sub_(rates[t] * grad)
        if t in logged:
            kept.append(losses.tolist())
    with torch.no_grad():
        right = forward(examples["test_inputs"]).argmax(-1) == examples["test_labels"]
    return list(zip(zip(*kept), right.float().mean(-1).tolist()))
