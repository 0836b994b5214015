"""PyTorch's side of end_to_end.py: a plain training loop over data in memory."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import processes
import torch
import torch.nn.functional as F
from end_to_end import learning_rate
from train_step_torch import build

PAD = 4  # border of an image in pixels, before it is cropped
IGNORED = -100  # label of padding, which F.cross_entropy leaves out
BOS = 1  # as in warmup_jax.data, which takes a second to import


def train(task, started):
    """Trains a task to its end and returns the measurements."""
    torch.set_num_threads(task["threads"])
    config, seconds = task["config"], dict.fromkeys(("train", "evaluate", "save"), 0.0)
    torch.manual_seed(config["seed"])
    train_set, test_set = load(task)
    model = build(dict(model=config["model"], input_shape=task["input_shape"], num_classes=task["num_classes"]))
    optimizer = make_optimizer(model, config)

    def objective(inputs, labels):
        logits = model(*inputs).flatten(0, -2)
        return F.cross_entropy(logits, labels, label_smoothing=config["label_smoothing"]), logits

    objective, about = compiled(objective, task["peer"])
    evaluations, first_loss = [], None
    with open(Path(task["workdir"]) / "metrics.jsonl", "w", buffering=1) as log:
        for step, index in enumerate(order(len(train_set[-1]), config["batch_size"], config["num_steps"]), 1):
            model.train()
            inputs, labels = batch(train_set, index, task, config["dataset"].get("augment") == "crop_flip")
            rate = learning_rate(config, step - 1)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            loss, logits = objective(inputs, labels)
            loss.backward()
            optimizer.step()
            if step == 1:
                first_loss, first = loss.item(), time.perf_counter() - started
            if step % config["log_every"] == 0 or step in (1, config["num_steps"]):
                write(log, step, loss=loss.item(), accuracy=accuracy(logits, labels), learning_rate=rate)
            if step % config["eval_every"] == 0:
                before = time.perf_counter()
                values = evaluate(model, test_set, config["eval_batch_size"], task)
                write(log, step, **{f"test_{name}": value for name, value in values.items()})
                now = time.perf_counter()
                seconds["evaluate"] += now - before
                value = 1 - values["accuracy"] if task["metric"] == "error" else values["loss"]
                evaluations.append((step, now - started, value))
            if step % config["checkpoint_every"] == 0 or step == config["num_steps"]:
                before = time.perf_counter()
                torch.save(
                    dict(step=step, model=model.state_dict(), optimizer=optimizer.state_dict()),
                    Path(task["workdir"]) / f"checkpoint_{step}.pt",
                )
                seconds["save"] += time.perf_counter() - before
    total = time.perf_counter() - started
    seconds["train"] = total - first - seconds["evaluate"] - seconds["save"]  # includes data and logs
    return dict(
        parameters=sum(p.numel() for p in model.parameters()),
        about=about,
        first_loss=first_loss,
        dispatch=1,
        evaluations=evaluations,
        seconds=seconds | dict(to_first_step=first, total=total),
        alone=None,
        memory=processes.peak_memory(),
    )


def compiled(objective, peer):
    """Returns the function, compiled if `peer` asks for it and a compiler exists, and its description."""
    if peer == "compile" and not (shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")):
        return objective, "eager (no C++ compiler, which torch.compile needs)"
    return (torch.compile(objective), "torch.compile") if peer == "compile" else (objective, "eager")


def make_optimizer(model, config):
    """Returns fused SGD or Adam; weight decay acts on kernels alone, as in this code."""
    args, parameters = config["optimizer_args"], list(model.parameters())
    groups = [
        dict(params=[p for p in parameters if p.ndim > 1], weight_decay=args["weight_decay"]),
        dict(params=[p for p in parameters if p.ndim < 2], weight_decay=0.0),
    ]
    if config["optimizer"] == "sgd":
        return torch.optim.SGD(groups, lr=config["peak_lr"], momentum=args["momentum"], fused=True)
    return torch.optim.Adam(
        groups, lr=config["peak_lr"], betas=(args["beta1"], args["beta2"]), eps=args["eps"], fused=True
    )


def load(task):
    """Returns both splits as tuples of tensors, the labels last: images [N, H, W, C] in bytes, or texts.

    Training images that will be cropped already have a border in the mean colour.
    """
    with np.load(f"{task['folder']}/data.npz") as stored:
        arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
    if "train_image" not in arrays:
        return translation(arrays, "train"), translation(arrays, "test")
    image = arrays["train_image"]
    if task["config"]["dataset"]["augment"] == "crop_flip":
        size, height, width, channels = image.shape
        colour = torch.from_numpy(-task["shift"] / task["scale"]).round().to(torch.uint8)
        padded = colour.expand(size, height + 2 * PAD, width + 2 * PAD, channels).contiguous()
        padded[:, PAD:-PAD, PAD:-PAD] = image
        image = padded
    return (image, arrays["train_label"].long()), (arrays["test_image"], arrays["test_label"].long())


def translation(arrays, part):
    """Returns source, its segments, target shifted right within each segment, its segments, and labels."""
    source, source_segments, target, segments = (
        arrays[f"{part}_{key}"].long() for key in ("source", "source_segments", "target", "target_segments")
    )
    before = F.pad(segments, (1, 0))[:, :-1]
    shifted = torch.where(segments == before, F.pad(target, (1, 0))[:, :-1], BOS).where(segments > 0, 0)
    return source, source_segments, shifted, segments, target.where(segments > 0, IGNORED)


def order(size, batch_size, steps):
    """Yields the indices of each batch; shuffles every epoch and drops its incomplete batch."""
    for step in range(steps):
        first = step % (size // batch_size) * batch_size
        if first == 0:
            shuffled = torch.randperm(size)
        yield shuffled[first : first + batch_size]


def batch(split, index, task, augment=False):
    """Returns (inputs of the model, labels [N]) of the examples at `index`."""
    *inputs, labels = split
    inputs = [crop_flip(inputs[0], index)] if augment else [values[index] for values in inputs]
    if inputs[0].dtype == torch.uint8:  # [B, H, W, C] viewed as [B, C, H, W] is channels_last
        scale, shift = torch.from_numpy(task["scale"]), torch.from_numpy(task["shift"])
        inputs = [torch.addcmul(shift, inputs[0].float(), scale).permute(0, 3, 1, 2)]
    return inputs, labels[index].flatten()


def crop_flip(padded, index):
    """Crops images with a border at random to their original size, and mirrors half of them."""
    count, (height, width) = len(index), (side - 2 * PAD for side in padded.shape[1:3])
    top, left = torch.randint(2 * PAD + 1, (2, count, 1))
    column = torch.arange(width).expand(count, -1)
    column = torch.where(torch.rand(count, 1) < 0.5, column.flip(1), column)
    return padded[index[:, None, None], (top + torch.arange(height))[:, :, None], (left + column)[:, None]]


def accuracy(logits, labels):
    return ((logits.argmax(-1) == labels).sum() / (labels != IGNORED).sum()).item()


@torch.inference_mode()
def evaluate(model, split, batch_size, task):
    """Returns mean loss and accuracy on the test split."""
    model.eval()
    loss, right, count = 0.0, 0, 0
    for index in torch.arange(len(split[-1])).split(batch_size):
        inputs, labels = batch(split, index, task)
        logits = model(*inputs).flatten(0, -2)
        loss += F.cross_entropy(logits, labels, reduction="sum").item()
        right += (logits.argmax(-1) == labels).sum().item()
        count += (labels != IGNORED).sum().item()
    return dict(loss=loss / count, accuracy=right / count)


def write(log, step, **values):
    log.write(json.dumps(dict(step=step) | values) + "\n")
