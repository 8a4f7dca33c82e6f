"""Are these two pictures of one person?  Siamese networks on people never seen before.

    python face_verification.py [--data FILE.npz] [--seeds 5] [--rounds 30]

FILE.npz holds X (n_pictures, height, width) and subject (n_pictures,), as the AT&T faces:
40 people, 10 pictures each.  They are reduced by four in both directions; 32 people are
trained on, mirrored and shifted by a pixel too, and all pairs of pictures of the 8 others
are the test.  'cosine' and 'relation' beat the pixels there; 'distance' does or does not,
as the people fall.

Without FILE.npz scikit-learn's digits take the place of faces: 0 to 6 are trained on, 7, 8
and 9 are the others.  Seven kinds are too few to learn from what makes kinds differ: the
networks win on new pictures of the kinds that they have seen, the pixels on the others.

What is printed is the area under the ROC curve, 1 for a perfect order of the pairs and 0.5
for chance.  Each round of training is one pass over newly drawn pairs.
"""

import argparse
from pathlib import Path

import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from mlp import SiameseClassifier, sample_pairs

#: what each head works best with
HEADS = {
    "cosine": {"standardize": True},
    "distance": {
        "embedding_activation": "tanh",
        "batch_norm": "all",
        "learning_rate_init": 0.003,
    },
    "relation": {"standardize": True},
}


def load(path):
    """Return pictures with values from 0 to 1, of what, and whether of faces."""
    if path is None:
        digits = load_digits()
        return digits.images.astype(np.float32) / 16, digits.target, False
    with np.load(path, allow_pickle=False) as data:
        X, subject = data["X"], data["subject"]
    n, height, width = X.shape[0], X.shape[1] // 4, X.shape[2] // 4
    X = X[:, : 4 * height, : 4 * width].reshape(n, height, 4, width, 4)
    return X.mean(axis=(2, 4), dtype=np.float32) / 255, subject, True


def more_pictures(X, y, mirror):
    """Return all pictures, flat, and shifted by up to a pixel and perhaps mirrored."""
    _, height, width = X.shape
    variants = []
    for images in (X, X[:, :, ::-1]) if mirror else (X,):
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
        for i in range(3):
            for j in range(3):
                variants.append(padded[:, i : i + height, j : j + width])
    return np.concatenate(variants).reshape(-1, height * width), np.tile(
        y, len(variants)
    )


def all_pairs(X, y):
    """Return every pair of pictures, and whether both are of one kind."""
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
    """Return a table {what judges: [AUC on each test]} of one choice of the others."""
    kinds, rng = np.unique(y), np.random.RandomState(seed)
    others = rng.choice(kinds, 8, replace=False) if faces else kinds[-3:]
    unseen = np.isin(y, others)
    tests, known = [all_pairs(X[unseen], y[unseen])], ~unseen
    if not faces:  # many pictures of each kind: a fifth is left for a second test
        kept = rng.uniform(size=len(y)) < 0.2
        tests.append(all_pairs(X[known & kept], y[known & kept]))
        known &= ~kept
    X, y = more_pictures(X[known], y[known], mirror=faces)
    judges = {
        "pixels, cosine": cosine_of_pixels,
        "pixels less their mean, cosine": lambda pairs: cosine_of_pixels(
            pairs, X.mean(axis=0)
        ),
    }
    for head in HEADS:
        # few people: a twin of one layer holds best for others
        model = train(head, () if faces else (100,), X, y, rounds, seed)
        judges[f"SiameseClassifier, {head}"] = model.decision_function
    return {
        name: [roc_auc_score(same, judge(pairs)) for pairs, same in tests]
        for name, judge in judges.items()
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=".npz file with X and subject")
    parser.add_argument("--seeds", type=int, default=5, help="repetitions")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=30, help="passes over new pairs")
    options = parser.parse_args()

    X, y, faces = load(options.data)
    print(
        f"{len(y)} pictures of {X.shape[1]} x {X.shape[2]}, {len(np.unique(y))} kinds"
    )
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tables = [experiment(X, y, faces, options.rounds, seed) for seed in seeds]
    titles = ["8 people never seen"] if faces else ["7, 8, 9", "new 0 to 6"]
    print(f"{'ROC AUC, mean (least)':32}" + "".join(f"{title:>20}" for title in titles))
    for name in tables[0]:
        areas = np.array([table[name] for table in tables])
        cells = [
            f"{mean:.3f} ({least:.3f})"
            for mean, least in zip(areas.mean(axis=0), areas.min(axis=0), strict=True)
        ]
        print(f"{name:32}" + "".join(f"{cell:>20}" for cell in cells))


if __name__ == "__main__":
    main()
