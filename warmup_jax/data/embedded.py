"""Data sets that come with an installed library."""

import numpy as np


def digits():
    """The UCI handwritten digits of scikit-learn: 1,437 to train on, 360 to test.

    Returns:
      Two dicts {"image": uint8 [N, 8, 8, 1] in 0..255, "label": int32 [N]}; a fixed
      split with all classes in proportion.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    # Levels 0..16 are spread over 0..255, so that one rule scales all sets.
    images = np.round(images.reshape(-1, 8, 8, 1) * (255 / 16)).astype(np.uint8)
    labels = labels.astype(np.int32)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=360, stratify=labels, random_state=0
    )
    return tuple({"image": images[part], "label": labels[part]} for part in (train, test))
