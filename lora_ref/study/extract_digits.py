"""Write ``digits.npz`` anew from scikit-learn's copy: ``python lora_ref/study/extract_digits.py``.

The only place that needs scikit-learn; the package reads the file that this wrote.
"""

from pathlib import Path

import numpy as np


def main() -> None:
    """Save the 1,797 images as uint8, and their labels, beside this script."""
    from sklearn.datasets import load_digits  # type: ignore[import-not-found, unused-ignore]

    digits = load_digits()
    images, labels = digits.data.astype(np.uint8), digits.target.astype(np.uint8)
    if not np.array_equal(images, digits.data):
        raise SystemExit("some grey values are not whole numbers from 0 to 255")
    np.savez_compressed(Path(__file__).with_name("digits.npz"), images=images, labels=labels)


if __name__ == "__main__":
    main()
