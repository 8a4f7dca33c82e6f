"""Decide whether two pictures show the same face, of people not seen in training.

    python face_verification.py [--data FILE.npz] [--seeds 3] [--rounds 10]

FILE.npz contains X (n_pictures, height, width) and subject (n_pictures,), for example the
AT&T faces: 40 people with 10 pictures each. The pictures are reduced by four in both
directions. The networks are trained on 32 people, with mirrored pictures and pictures
shifted by a pixel, and tested on all pairs of pictures of the other 8. On average over
choices of the 8, 'cosine' is better than comparing the pixels; 'distance' and 'relation'
are not.

Without FILE.npz handwriting replaces the faces: each of 340 images of scikit-learn's digits
is a class with 10 pictures, which are shifted by up to two pixels and noisy. The networks
are trained on 300 classes and tested on all pairs of pictures of the other 40. Comparing
the pixels works badly, since they change when the image is shifted. With all three heads
the networks learn from the training classes to ignore shifts, and recognise new classes.

The script prints the area under the ROC curve, 1 for a perfect order of the pairs and 0.5
for chance: the mean and the minimum over the seeds. Each round of training is one pass over
newly drawn pairs.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from mlp import SiameseClassifier, sample_pairs

#: parameters that work best with each head
HEADS = {
    "cosine": {"standardize": True},
    "distance": {
        "embedding_activation": "tanh",
        "batch_norm": "all",
        "learning_rate_init": 0.003,
    },
    "relation": {"standardize": True},
}


def moved_digits(n_kinds=340, n_pictures=10, room=2, noise=0.1):
    """Return noisy pictures of single digits at random places in a larger image."""
    rng = np.random.default_rng(0)
    images = load_digits().images[rng.choice(1797, n_kinds, replace=False)] / 16
    _, height, width = images.shape
    n = n_kinds * n_pictures
    X = rng.normal(scale=noise, size=(n, height + room, width + room))
    kind = np.repeat(np.arange(n_kinds), n_pictures)
    places = rng.integers(0, room + 1, (n, 2))
    for picture, of, (i, j) in zip(X, kind, places, strict=True):
        picture[i : i + height, j : j + width] += images[of]
    return X.astype(np.float32), kind


def load_faces(path):
    """Return reduced pictures with values from 0 to 1, and their subjects."""
    with np.load(path, allow_pickle=False) as data:
        X, subject = data["X"], data["subject"]
    n, height, width = X.shape[0], X.shape[1] // 4, X.shape[2] // 4
    X = X[:, : 4 * height, : 4 * width].reshape(n, height, 4, width, 4)
    return X.mean(axis=(2, 4), dtype=np.float32) / 255, subject


def more_pictures(X, y):
    """Return all pictures as rows, also mirrored, and shifted by up to a pixel."""
    _, height, width = X.shape
    variants = []
    for images in (X, X[:, :, ::-1]):
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
        for i in range(3):
            for j in range(3):
                variants.append(padded[:, i : i + height, j : j + width])
    return np.concatenate(variants), np.tile(y, len(variants))


def all_pairs(X, y):
    """Return every pair of pictures, and whether both belong to one class."""
    first, second = np.triu_indices(len(y), 1)
    X = X.reshape(len(X), -1)
    return (X[first], X[second]), y[first] == y[second]


def cosine_of_pixels(pairs, origin=0.0):
    first, second = (part - origin for part in pairs)
    products = (first * second).sum(axis=1)
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    return products / lengths


def train(head, hidden, X, y, rounds, seed):
    rng = np.random.RandomState(seed)
    model = SiameseClassifier(
        hidden,
        n_embedding=64,
        head=head,
        learning_rate="cosine",
        max_iter=rounds,
        random_state=rng,
        **HEADS[head],
    )
    for _ in range(rounds):
        pairs, same = sample_pairs(y, 10_000, random_state=rng)
        model.partial_fit(X[pairs], same)
    return model


def experiment(X, y, faces, rounds, seed):
    """Return {method: its AUC} for one choice of the test classes."""
    rng = np.random.RandomState(seed)
    unseen = np.isin(y, rng.choice(np.unique(y), 8 if faces else 40, replace=False))
    pairs, same = all_pairs(X[unseen], y[unseen])
    X, y = X[~unseen], y[~unseen]
    if faces:
        X, y = more_pictures(X, y)
    X = X.reshape(len(X), -1)
    scores = {
        "pixels, cosine": cosine_of_pixels(pairs),
        "pixels less their mean, cosine": cosine_of_pixels(pairs, X.mean(axis=0)),
    }
    for head in HEADS:
        # with few people, a network of one layer generalises best to others
        model = train(head, () if faces else (100,), X, y, rounds, seed)
        scores[f"SiameseClassifier, {head}"] = model.decision_function(pairs)
    return {name: roc_auc_score(same, score) for name, score in scores.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=".npz file with X and subject")
    parser.add_argument("--seeds", type=int, default=3, help="number of repetitions")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10, help="passes over new pairs")
    options = parser.parse_args()

    faces = options.data is not None
    X, y = load_faces(options.data) if faces else moved_digits()
    print(
        f"{len(y)} pictures of {X.shape[1]} x {X.shape[2]}, {len(np.unique(y))} classes"
    )
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tables = [experiment(X, y, faces, options.rounds, seed) for seed in seeds]
    print(f"{'ROC AUC on unseen classes':32}{'mean':>8}{'minimum':>8}")
    for name in tables[0]:
        areas = [table[name] for table in tables]
        print(f"{name:32}{np.mean(areas):8.3f}{min(areas):8.3f}")


if __name__ == "__main__":
    main()
