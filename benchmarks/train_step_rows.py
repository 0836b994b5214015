"""Models that train_step.py measures, by name, in sizes for a CPU and for a GPU, and the interface of a side."""

from collections.abc import Callable
from typing import NamedTuple

TRANSFORMER = dict(
    width=256,
    heads=4,
    ffn_width=1024,
    norm="post",
    norm_kind="layer",
    activation="relu",
    positions="sinusoidal",
    max_positions=256,
    bias=True,
    tied=True,
    scale_embedding=True,
    init="xavier",
    dropout=0.0,
    qk_norm=False,
    attention="own",
    scan_layers=False,
    remat=False,
    dtype="float32",
)
GPT = TRANSFORMER | dict(activation="gelu", positions="learned", norm="pre", scale_embedding=False, init="gpt2")
RESNET = dict(
    name="resnet", form="cifar", depth=20, width=1.0, shortcut="A", stem="3x3", zero_gamma=False, dtype="float32"
)
IMAGENET = RESNET | dict(form="imagenet", shortcut="B")

# All sides build their models from these rows. `steps` is the number of steps measured in a round: about five seconds
# on one core, or ten where a step takes seconds. `chunk_steps` is the number of steps in one dispatch of this code, or
# None for the number used in training. `gpu` holds the changes to the row on a GPU.
ROWS = {
    "transformer": dict(
        title="encoder-decoder, d256, 3 + 3 layers, Post-LN",
        batch_size=32,
        num_classes=8000,
        input_shape=(32, 32),
        label_smoothing=0.1,
        steps=10,
        chunk_steps=None,
        gpu=dict(batch_size=512, steps=100),
        model=TRANSFORMER | dict(name="transformer", encoder_depth=3, decoder_depth=3),
    ),
    "decoder": dict(
        title="decoder, d256, 6 layers, Pre-LN",
        batch_size=8,
        num_classes=8000,
        input_shape=(256,),
        label_smoothing=0.0,
        steps=10,
        chunk_steps=None,
        gpu=dict(batch_size=64, steps=100),
        model=GPT | dict(name="decoder", depth=6),
    ),
    "tiny": dict(
        title="decoder, d32, 6 layers, Post-LN",
        batch_size=16,
        num_classes=65,
        input_shape=(32,),
        label_smoothing=0.0,
        steps=300,
        chunk_steps=None,
        gpu=dict(batch_size=1024, steps=300),
        model=GPT | dict(name="decoder", depth=6, width=32, ffn_width=128, norm="post", init="xavier"),
    ),
    "resnet20": dict(
        title="ResNet-20, 32x32",
        batch_size=128,
        num_classes=10,
        input_shape=(32, 32, 3),
        label_smoothing=0.0,
        steps=10,
        chunk_steps=None,
        gpu=dict(batch_size=1024, steps=100),
        model=RESNET,
    ),
    "resnet18": dict(
        title="ResNet-18, 3x3 stem, 32x32",
        batch_size=64,
        num_classes=10,
        input_shape=(32, 32, 3),
        label_smoothing=0.0,
        steps=4,
        chunk_steps=None,
        gpu=dict(batch_size=512, steps=100),
        model=IMAGENET | dict(depth=18),
    ),
    "resnet50": dict(
        title="ResNet-50, 224x224",
        batch_size=8,
        num_classes=1000,
        input_shape=(224, 224, 3),
        label_smoothing=0.0,
        steps=2,
        chunk_steps=None,
        gpu=dict(batch_size=256, steps=100),
        model=IMAGENET | dict(depth=50, stem="7x7"),
    ),
    "base": dict(
        title="encoder-decoder, base: d512, 6 + 6 layers, Post-LN",
        batch_size=8,
        num_classes=37000,
        input_shape=(64, 64),
        label_smoothing=0.1,
        steps=4,
        chunk_steps=2,
        gpu=dict(batch_size=64, input_shape=(128, 128), steps=100, chunk_steps=None),
        model=TRANSFORMER
        | dict(name="transformer", width=512, heads=8, ffn_width=2048, encoder_depth=6, decoder_depth=6),
    ),
    "gpt2": dict(
        title="decoder, GPT-2 small: d768, 12 layers, Pre-LN",
        batch_size=2,
        num_classes=50257,
        input_shape=(256,),
        label_smoothing=0.0,
        steps=2,
        chunk_steps=2,
        gpu=dict(batch_size=16, input_shape=(1024,), steps=100, chunk_steps=None),
        model=GPT | dict(name="decoder", width=768, heads=12, ffn_width=3072, depth=12, max_positions=1024),
    ),
}
LEARNING_RATE = 1e-5  # low, so that the losses of all sides stay comparable
BATCHES = 8  # number of different batches, which repeat


class Side(NamedTuple):
    """A side that is ready to train."""

    parameters: int
    about: str
    dispatch: int  # steps per dispatch
    run: Callable  # number of dispatches -> the last loss, after all are done
    flops: Callable  # () -> operations of a forward pass of one batch
    peak_on_gpu: Callable  # () -> bytes


def chosen(name, device, smoke, steps, dropout):
    """Returns the row of a model, with the changes of the command line."""
    row = ROWS[name] | (ROWS[name]["gpu"] if device == "gpu" else {})
    model = row["model"] | (dict(dtype="bfloat16") if device == "gpu" else {})
    if is_text(row):
        model |= dict(dropout=dropout) | (dict(attention="cudnn") if device == "gpu" else {})
    row |= dict(model=model, steps=steps or row["steps"])
    return small(row) | dict(title=f"{row['title']}, shrunk") if smoke else row


def small(row):
    """Returns the row in a tiny size, with the same kinds of layers."""
    model = row["model"]
    if is_text(row):
        depths = {key: 1 for key in model if key.endswith("depth")}
        return row | dict(
            batch_size=2,
            num_classes=16,
            input_shape=(8,) * len(row["input_shape"]),
            model=model | dict(width=16, heads=2, ffn_width=32, max_positions=8) | depths,
        )
    sizes = dict(depth=8, width=0.5) if model["form"] == "cifar" else dict(width=0.0625)
    return row | dict(
        batch_size=2,
        input_shape=(32, 32, 3) if model["stem"] == "7x7" else (8, 8, 3),
        num_classes=10,
        model=model | sizes,
    )


def is_text(row):
    return "norm" in row["model"]


def flax_example(row):
    """Returns the folder of the Flax example with this model, or None."""
    model = row["model"]
    if model["name"] == "resnet":
        return "imagenet" if model["form"] == "imagenet" and model["stem"] == "7x7" else None
    return {"transformer": "wmt", "decoder": "lm1b"}[model["name"]]
