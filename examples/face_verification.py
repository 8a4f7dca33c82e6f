"""Do two pictures show the same face? Siamese networks on kinds never seen before.

    python face_verification.py [--data FILE.npz] [--seeds 3] [--rounds 10]

FILE.npz holds X (n_pictures, height, width) and subject (n_pictures,), as the AT&T faces:
40 people, 10 pictures each. They are reduced by four in both directions; 32 people are
trained on, mirrored and shifted by a pixel too, and all pairs of pictures of the 8 others
are the test. On average over choices of the 8, 'cosine' beats the pixels there; 'distance'
and 'relation' do not.

Without FILE.npz pictures of handwriting take the place of faces: each of 340 images of
scikit-learn's digits is a kind, of which there are 10 pictures, moved by up to two pixels
and noisy. 300 kinds are trained on; all pairs of pictures of the 40 others are the test.
The pixels tell little there, as they change when the image moves. All three heads have
learned from other kinds what moving does, and recognise new ones.

What is printed is the area under the ROC curve, 1 for a perfect order of the pairs and 0.5
for chance, as the mean and the least over the seeds. Each round of training is one pass
over newly drawn pairs.
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


def moved_digits(n_kinds=340, n_pictures=10, room=2, noise=0.1):
    """Pictures of single images of digits: at random places in a larger one, noisy."""
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
    """Reduced pictures with values from 0 to 1, and of whom they are."""
    with np.load(path, allow_pickle=False) as data:
        X, subject = data["X"], data["subject"]
    n, height, width = X.shape[0], X.shape[1] // 4, X.shape[2] // 4
    X = X[:, : 4 * height, : 4 * width].reshape(n, height, 4, width, 4)
    return X.mean(axis=(2, 4), dtype=np.float32) / 255, subject


def more_pictures(X, y):
    """Return all pictures, flat, mirrored too, and shifted by up to a pixel."""
    _, height, width = X.shape
    variants = []
    for images in (X, X[:, :, ::-1]):
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
        for i in range(3):
            for j in range(3):
                variants.append(padded[:, i : i + height, j : j + width])
    return np.concatenate(variants), np.tile(y, len(variants))


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
    """Return a table {what compares: its AUC} of one choice of the kinds to test."""
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
        # few people: a network of one layer holds best for others
        model = train(head, () if faces else (100,), X, y, rounds, seed)
        scores[f"SiameseClassifier, {head}"] = model.decision_function(pairs)
    return {name: roc_auc_score(same, score) for name, score in scores.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help=".npz file with X and subject")
    parser.add_argument("--seeds", type=int, default=3, help="repetitions")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=10, help="passes over new pairs")
    options = parser.parse_args()

    faces = options.data is not None
    X, y = load_faces(options.data) if faces else moved_digits()
    print(
        f"{len(y)} pictures of {X.shape[1]} x {X.shape[2]}, {len(np.unique(y))} kinds"
    )
    seeds = range(options.first_seed, options.first_seed + options.seeds)
    tables = [experiment(X, y, faces, options.rounds, seed) for seed in seeds]
    print(f"{'ROC AUC on kinds never seen':32}{'mean':>8}{'least':>8}")
    for name in tables[0]:
        areas = [table[name] for table in tables]
        print(f"{name:32}{np.mean(areas):8.3f}{min(areas):8.3f}")


if __name__ == "__main__":
    main()
