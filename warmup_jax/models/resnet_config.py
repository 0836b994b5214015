"""The arguments of a residual network, checked in one place."""

from dataclasses import dataclass

from warmup_jax.registry import one_of

CIFAR_CHANNELS = (16, 32, 64)
IMAGENET_CHANNELS = (64, 128, 256, 512)
IMAGENET_BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
BOTTLENECK_DEPTHS = (50, 101, 152)


@dataclass(frozen=True, kw_only=True)
class ResNetConfig:
    """The arguments of a residual network.

    Args:
      form: "cifar" (three stages of 16, 32, 64 channels, basic blocks) or "imagenet" (four stages of 64 to 512
        channels; basic blocks at depths 18 and 34, bottlenecks at 50, 101 and 152).
      depth: 6n + 2 with n >= 1 for "cifar"; 18, 34, 50, 101 or 152 for "imagenet".
      width: multiplies the channels of every stage; the products are rounded.
      shortcut: where a block changes the shape, "A" takes every other pixel and appends channels of zeros (basic blocks
        only), "B" is a 1x1 convolution with BatchNorm.
      stem: "3x3" (stride 1, no pooling) or "7x7" (stride 2, then a 3x3 max-pool of stride 2).
      zero_gamma: start the last BatchNorm scale of each block at 0, so that at the start every residual branch is zero.
      dtype: "float32" or "bfloat16", of convolutions and activations. Parameters, statistics, the head and the logits
        are always float32.

    Raises:
      ValueError: for a value that is not allowed, and for values that do not go together.
    """

    form: str
    depth: int
    width: float
    shortcut: str
    stem: str
    zero_gamma: bool
    dtype: str

    def __post_init__(self) -> None:
        one_of("form", self.form, ("cifar", "imagenet"))
        depth, width, first = self.depth, self.width, self._plain_channels[0]
        if self.form == "imagenet":
            one_of("depth", depth, IMAGENET_BLOCKS, " for form='imagenet'")
        elif not isinstance(depth, int) or not 8 <= depth <= 10_000 or depth % 6 != 2:
            raise ValueError(
                f"depth={depth!r}; allowed for form='cifar': 6n + 2 with n >= 1, as 8, 20, 56, 110, up to 10000"
            )
        if not (isinstance(width, (int, float)) and 0 < width <= 2**16 and round(first * width)):
            raise ValueError(
                f"width={width!r}; allowed: a positive number up to {2**16} that leaves one of {first} channels"
            )
        shortcuts = ("B",) if self.bottleneck else ("A", "B")
        one_of("shortcut", self.shortcut, shortcuts, f" for form={self.form!r}, depth={depth}")
        one_of("stem", self.stem, ("3x3", "7x7"))
        one_of("zero_gamma", self.zero_gamma, (False, True))
        one_of("dtype", self.dtype, ("float32", "bfloat16"))

    @property
    def bottleneck(self) -> bool:
        """True if the blocks are bottlenecks."""
        return self.form == "imagenet" and self.depth in BOTTLENECK_DEPTHS

    @property
    def channels(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(round(channels * self.width) for channels in self._plain_channels)

    @property
    def blocks(self) -> tuple[int, ...]:
        """Number of blocks of each stage."""
        return (self.depth // 6,) * 3 if self.form == "cifar" else IMAGENET_BLOCKS[self.depth]

    @property
    def _plain_channels(self) -> tuple[int, ...]:
        return CIFAR_CHANNELS if self.form == "cifar" else IMAGENET_CHANNELS
