import pathlib
import subprocess
import sys

import pytest

from warmup_jax import data


def test_images_are_the_default():
    assert data.load(name="digits").input_shape == data.load(task="images", name="digits").input_shape == (8, 8, 1)
    assert data.load(name="digits").texts is None and data.load(name="digits").facts == {}


@pytest.mark.parametrize(
    "options, message",
    [
        ({"task": "image", "name": "digits"}, "unknown task 'image'; did you mean 'images'.*images, text, translation"),
        ({"name": "digits", "augments": "flip"}, "task 'images': unknown argument 'augments'; did you mean 'augment'"),
        ({"task": "translation", "name": "digits"}, "task='translation'; allowed for data set 'digits': 'images'"),
        ({"task": "text", "name": "number_words"}, "task='text'; allowed for data set 'number_words': 'translation'"),
        ({"name": "multi30k_translate/de-en:1.0.0"}, "task='images'; allowed for data set .*: 'translation'"),
        ({"task": "text", "name": "../x"}, "name='../x'; allowed: NAME"),
    ],
)
def test_wrong_task_or_argument(options, message):
    with pytest.raises(ValueError, match=message):
        data.load(**options)


def test_a_text_set_that_is_absent(tmp_path):
    for task, name in (("translation", "multi30k_translate/de-en"), ("text", "tiny_shakespeare")):
        with pytest.raises(FileNotFoundError, match=f"warmup_jax.data prepare {name}"):
            data.load(task=task, name=name, data_dir=tmp_path)
    with pytest.raises(FileNotFoundError, match="did you mean 'multi30k_translate/de-en'"):
        data.load(task="translation", name="multi30k_translate", data_dir=tmp_path)


def test_import_is_light():
    program = (
        "import sys, warmup_jax.data; "
        "print([m for m in ('tensorflow_datasets', 'grain', 'sklearn', 'PIL', 'sentencepiece', 'num2words') "
        "if m in sys.modules])"
    )
    root = pathlib.Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
