"""Known data sets: task, normalisation constants, and the published files they are prepared from."""

from typing import NamedTuple


class Archive(NamedTuple):
    """A published file: its address, and the SHA-256 of its content in hex."""

    url: str
    sha256: str


class DatasetInfo(NamedTuple):
    """Facts about one data set that are known before any file is read.

    Attributes:
      mean: mean per channel of the training pixels, scaled to [0, 1].
      std: standard deviation per channel of the same.
      archives: the files that `prepare` builds the set from; empty if it cannot.
      test_split: TFDS split to test on, if the usual choice is wrong.
      task: key of data.TASKS.
      package: the installed package that contains the set, for sets that need no file on disk.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    archives: tuple[Archive, ...] = ()
    test_split: str | None = None
    task: str = "images"
    package: str | None = None


TORONTO = "https://www.cs.toronto.edu/~kriz/"
CVDF = "https://storage.googleapis.com/cvdf-datasets/mnist/"
# The authors' own copy, because the address that TFDS uses has no TLS.
ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"
MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/a3d2e0d26b56f3846f66a952536ffed4e401d05a/data/task1/raw/"
CHAR_RNN = (
    "https://raw.githubusercontent.com/karpathy/char-rnn/6f9487a6fe5b420b7ca9afb0d7c078e37c1d1b4e/data/tinyshakespeare/"
)

DATASETS: dict[str, DatasetInfo] = {
    "digits": DatasetInfo(mean=(0.3054,), std=(0.3760,), package="scikit-learn"),
    "mnist": DatasetInfo(
        mean=(0.1307,),
        std=(0.3081,),
        archives=(
            Archive(
                CVDF + "train-images-idx3-ubyte.gz",
                "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
            ),
            Archive(
                CVDF + "train-labels-idx1-ubyte.gz",
                "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
            ),
            Archive(
                CVDF + "t10k-images-idx3-ubyte.gz",
                "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
            ),
            Archive(
                CVDF + "t10k-labels-idx1-ubyte.gz",
                "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
            ),
        ),
    ),
    "fashion_mnist": DatasetInfo(
        mean=(0.2860,),
        std=(0.3530,),
        archives=(
            Archive(
                ZALANDO + "train-images-idx3-ubyte.gz",
                "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
            ),
            Archive(
                ZALANDO + "train-labels-idx1-ubyte.gz",
                "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
            ),
            Archive(
                ZALANDO + "t10k-images-idx3-ubyte.gz",
                "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
            ),
            Archive(
                ZALANDO + "t10k-labels-idx1-ubyte.gz",
                "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
            ),
        ),
    ),
    "cifar10": DatasetInfo(
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2470, 0.2435, 0.2616),
        archives=(
            Archive(
                TORONTO + "cifar-10-python.tar.gz",
                "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
            ),
        ),
    ),
    "cifar100": DatasetInfo(
        mean=(0.5071, 0.4865, 0.4409),
        std=(0.2673, 0.2564, 0.2762),
        archives=(
            Archive(
                TORONTO + "cifar-100-python.tar.gz",
                "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
            ),
        ),
    ),
    # The "test" split of newer versions has no labels.
    "imagenet2012": DatasetInfo(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), test_split="validation"),
    "number_words": DatasetInfo(task="translation", package="num2words"),
    # The test split is test_2016_flickr.
    "multi30k_translate/de-en": DatasetInfo(
        task="translation",
        archives=(
            Archive(
                MULTI30K + "train.de.gz",
                "726e39b2fa9eb9ffb6dc763fb35a179f80fae06ffc5d28b6ace5faa883de28a6",
            ),
            Archive(
                MULTI30K + "train.en.gz",
                "d79cfa999dd4c51d2cb42499b6796d5a882c3a8a961923c25a898c90f8bbd56f",
            ),
            Archive(
                MULTI30K + "val.de.gz",
                "f0cba2f995189cf5770f29a8a9a537a3ad3f51657ad873405082ff6863a5e75a",
            ),
            Archive(
                MULTI30K + "val.en.gz",
                "14f7d25ddd868909a9213e361768460edcacdd6ab9d1e77b92560dc10c10dc28",
            ),
            Archive(
                MULTI30K + "test_2016_flickr.de.gz",
                "9204244e408ccb38d2a55cfcd344df15005fc42a07a6e55ca6c52b6ababb8cc8",
            ),
            Archive(
                MULTI30K + "test_2016_flickr.en.gz",
                "611d361c6334bc7246101d48097c13cf5c4413c5befc793cc629934359d532d9",
            ),
        ),
    ),
    "pydoc": DatasetInfo(task="text", package="Python"),
    "tiny_shakespeare": DatasetInfo(
        task="text",
        archives=(
            Archive(
                CHAR_RNN + "input.txt",
                "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
            ),
        ),
    ),
}
