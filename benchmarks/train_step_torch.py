"""PyTorch's sides of train_step.py: the same networks written plainly, eager or compiled, on random data."""

import contextlib
import itertools
import math

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode
from train_step_rows import BATCHES, LEARNING_RATE, Side, is_text

CIFAR_CHANNELS, IMAGENET_CHANNELS = (16, 32, 64), (64, 128, 256, 512)
IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
BOTTLENECK_DEPTHS = (50,)


def set_up(task):
    """Returns the side `task["side"]`, "eager" or "compiled", for `task["row"]`."""
    row, gpu = task["row"], task["device"] == "gpu"
    device = torch.device("cuda" if gpu else "cpu")
    if not gpu:
        torch.set_num_threads(len(task["cores"]))
    torch.manual_seed(0)
    model = build(row).to(device)
    model.train()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
    batches = random_batches(row, device)
    feed = itertools.cycle(batches)
    precision = torch.autocast("cuda", torch.bfloat16) if gpu else contextlib.nullcontext()

    def objective(inputs, labels):
        with precision:
            logits = model(*inputs)
            return F.cross_entropy(logits.flatten(0, -2), labels.flatten(), label_smoothing=row["label_smoothing"])

    about = "Adam(fused=True), eager"
    if task["side"] == "compiled":
        mode = "max-autotune" if gpu else None
        objective = torch.compile(objective, mode=mode)
        about = f"Adam(fused=True), torch.compile({f'mode={mode!r}' if mode else ''})"

    def run(steps):
        for inputs, labels in itertools.islice(feed, steps):
            optimizer.zero_grad()
            loss = objective(inputs, labels)
            loss.backward()
            optimizer.step()
        last = loss.item()
        if gpu:
            torch.cuda.synchronize()
        return last

    return Side(
        parameters=sum(p.numel() for p in model.parameters()),
        about=about,
        dispatch=1,
        run=run,
        flops=lambda: forward_flops(model, batches[0][0]),
        peak_on_gpu=torch.cuda.max_memory_allocated,
    )


def forward_flops(model, inputs):
    """Returns the operations of a forward pass, with plain attention: the counter does not know every fused one."""
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(*inputs)
    return counter.get_total_flops()


def build(row):
    model, shape, classes = row["model"], row["input_shape"], row["num_classes"]
    if model["name"] == "resnet":
        return ResNet(model, shape[-1], classes).to(memory_format=torch.channels_last)
    return (Transformer if model["name"] == "transformer" else Decoder)(model, classes)


def random_batches(row, device):
    """Returns [(inputs, labels)] of images or full rows."""
    batch, shape, classes = row["batch_size"], row["input_shape"], row["num_classes"]
    if not is_text(row):
        height, width, channels = shape
        images = torch.randn(BATCHES, batch, channels, height, width, device=device)
        labels = torch.randint(classes, (BATCHES, batch), device=device)
        return [((each.to(memory_format=torch.channels_last),), of) for each, of in zip(images, labels)]
    tokens = lambda length: torch.randint(4, classes, (BATCHES, batch, length), device=device).unbind()
    if len(shape) == 1:
        return [((each,), of) for each, of in zip(tokens(shape[0]), tokens(shape[0]))]
    segments = [torch.ones(batch, length, dtype=torch.long, device=device) for length in shape]
    return [
        ((source, segments[0], target, segments[1]), of)
        for source, target, of in zip(tokens(shape[0]), tokens(shape[1]), tokens(shape[1]))
    ]


class Attention(nn.Module):
    """Multi-head self-attention, or attention to a memory."""

    def __init__(self, args, cross):
        super().__init__()
        width, self.heads, self.dropout = args["width"], args["heads"], args["dropout"]
        self.cross = cross
        if cross:
            self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        else:
            self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x, mask=None, memory=None):
        if self.cross:
            projected = self.query(x), *self.key_value(memory).chunk(2, -1)
        else:
            projected = self.query_key_value(x).chunk(3, -1)
        query, key, value = (y.unflatten(-1, (self.heads, -1)).transpose(1, 2) for y in projected)
        y = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None)
        return self.out(y.transpose(1, 2).flatten(-2))


class Block(nn.Module):
    """A Transformer block: sublayers with residual sums, Pre-LN or Post-LN."""

    def __init__(self, args, cross):
        super().__init__()
        width, self.before, self.dropout = args["width"], args["norm"] == "pre", args["dropout"]
        self.attention = Attention(args, False)
        self.across = Attention(args, True) if cross else None
        self.up, self.down = nn.Linear(width, args["ffn_width"]), nn.Linear(args["ffn_width"], width)
        self.activation = nn.ReLU() if args["activation"] == "relu" else nn.GELU("tanh")
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 if cross else 2))

    def forward(self, x, mask=None, memory=None, memory_mask=None):
        x = self.add(0, x, lambda y: self.attention(y, mask))
        if self.across is not None:
            x = self.add(1, x, lambda y: self.across(y, memory_mask, memory))
        return self.add(-1, x, lambda y: self.down(self.activation(self.up(y))))

    def add(self, index, x, branch):
        norm = self.norms[index]
        y = branch(norm(x)) if self.before else branch(x)
        x = x + F.dropout(y, self.dropout, self.training)
        return x if self.before else norm(x)


class Stack(nn.Module):
    """Token and position embeddings, blocks and the last norm."""

    def __init__(self, args, depth, cross):
        super().__init__()
        width, length = args["width"], args["max_positions"]
        self.scale = math.sqrt(width) if args["scale_embedding"] else 1.0
        self.dropout = args["dropout"]
        if args["positions"] == "learned":
            self.positions = nn.Parameter(torch.randn(length, width) * embedding_std(args))
        else:
            angles = torch.arange(length)[:, None] * 1e4 ** (-torch.arange(0, width, 2) / width)
            self.register_buffer("positions", torch.stack([angles.sin(), angles.cos()], -1).flatten(1))
        self.blocks = nn.ModuleList(Block(args, cross) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def forward(self, table, tokens, mask=None, memory=None, memory_mask=None):
        x = F.embedding(tokens, table) * self.scale + self.positions[: tokens.shape[1]]
        x = F.dropout(x, self.dropout, self.training)
        for block in self.blocks:
            x = block(x, mask, memory, memory_mask)
        return self.norm(x)


class Decoder(nn.Module):
    """A language model, tokens -> logits, with the embeddings tied to the output."""

    def __init__(self, args, classes):
        super().__init__()
        self.table = nn.Parameter(torch.randn(classes, args["width"]) * embedding_std(args))
        self.decoder = Stack(args, args["depth"], False)
        initialise(self, args)

    def forward(self, tokens):
        return F.linear(self.decoder(self.table, tokens), self.table)


class Transformer(nn.Module):
    """An encoder-decoder, source and target tokens with segments -> logits, and one table for embeddings and output."""

    def __init__(self, args, classes):
        super().__init__()
        self.table = nn.Parameter(torch.randn(classes, args["width"]) * embedding_std(args))
        self.encoder = Stack(args, args["encoder_depth"], False)
        self.decoder = Stack(args, args["decoder_depth"], True)
        initialise(self, args)

    def forward(self, source, source_segments, target, target_segments):
        memory = self.encoder(self.table, source, same(source_segments, source_segments))
        causal = torch.ones(target.shape[1], target.shape[1], dtype=torch.bool, device=target.device).tril()
        y = self.decoder(
            self.table,
            target,
            same(target_segments, target_segments) & causal,
            memory,
            same(target_segments, source_segments),
        )
        return F.linear(y, self.table)


def same(query, key):
    """Returns the attention mask [B, 1, T, S]: True within a segment, False for padding."""
    return ((query[:, :, None] == key[:, None]) & (key != 0)[:, None])[:, None]


def embedding_std(args):
    return 0.02 if args["init"] == "gpt2" else args["width"] ** -0.5


def initialise(model, args):
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(parameter)
        elif parameter.ndim == 2 and name.endswith("weight"):
            nn.init.normal_(parameter, std=0.02) if args["init"] == "gpt2" else nn.init.xavier_normal_(parameter)


class ResNet(nn.Module):
    """A ResNet, images [B, C, H, W] -> logits, with basic or bottleneck blocks after a 3x3 or 7x7 stem.

    A max-pool follows the 7x7 stem.
    """

    def __init__(self, args, incoming, classes):
        super().__init__()
        cifar, downsample = args["form"] == "cifar", args["stem"] == "7x7"
        channels = [round(c * args["width"]) for c in (CIFAR_CHANNELS if cifar else IMAGENET_CHANNELS)]
        blocks = ((args["depth"] - 2) // 6,) * 3 if cifar else IMAGENET_BLOCKS[args["depth"]]
        size, stride = (7, 2) if downsample else (3, 1)
        layers = [convolution(incoming, channels[0], size, stride), nn.BatchNorm2d(channels[0]), nn.ReLU(inplace=True)]
        if downsample:
            layers.append(nn.MaxPool2d(3, 2, 1))
        incoming = channels[0]
        for stage, (width, count) in enumerate(zip(channels, blocks)):
            for index in range(count):
                stride = 2 if stage > 0 and index == 0 else 1
                of_branch = ((3, width, stride), (3, width, 1))
                if not cifar and args["depth"] in BOTTLENECK_DEPTHS:
                    of_branch = ((1, width, 1), (3, width, stride), (1, 4 * width, 1))
                layers.append(Residual(incoming, of_branch, stride, args["shortcut"]))
                incoming = of_branch[-1][1]
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(incoming, classes)
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images):
        return self.head(self.features(images).mean((2, 3)))


class Residual(nn.Module):
    """A residual block, relu(branch(x) + shortcut(x)); shortcut "A" appends channels of zeros, "B" projects.

    Args:
      incoming: channels of x.
      of_branch: (kernel size, output channels, stride) of each convolution.
      stride: stride of the whole block.
      shortcut: "A" or "B".
    """

    def __init__(self, incoming, of_branch, stride, shortcut):
        super().__init__()
        outgoing = of_branch[-1][1]
        self.stride, self.missing = stride, outgoing - incoming
        self.project = None
        if shortcut == "B" and (stride != 1 or incoming != outgoing):
            self.project = nn.Sequential(convolution(incoming, outgoing, 1, stride), nn.BatchNorm2d(outgoing))
        layers = []
        for size, channels, stride in of_branch:
            layers += [convolution(incoming, channels, size, stride), nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            incoming = channels
        self.branch = nn.Sequential(*layers[:-1])

    def forward(self, x):
        y = self.branch(x)
        if self.project is not None:
            x = self.project(x)
        elif self.stride != 1 or self.missing:
            x = F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.missing))
        return F.relu(y + x, inplace=True)


def convolution(incoming, outgoing, size, stride):
    layer = nn.Conv2d(incoming, outgoing, size, stride, size // 2, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out")
    return layer
