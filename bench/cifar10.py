"""Train on CIFAR-10 by mini-batches: the experiment of [S ex. 65.10], table 65.4.

    python bench/cifar10.py --data FILE.npz --checkpoint cifar.pickle
    python bench/cifar10.py --data FILE.npz --dropout 0.1,0.5,0.5 --epochs 300

3072-2048-2048-10, ReLU, softmax outputs and cross-entropy, pixels/255 centred by the
mean image, rho = 0.0001. The book takes steps on single samples with mu = 0.001. Here a
step is a mini-batch of B = 50 samples [S 65.149] with mu = 0.001 B = 0.05: B times the mean
gradient of B samples is the sum of B single steps as long as the weights change little,
and the weights decay by the same factor per pass. `--batch-size 1` is the book's method.
After an interruption the same command resumes from the checkpoint. The checkpoint is a
pickle: use only files that you wrote yourself.

FILE.npz contains x_train (n, 32, 32, 3), y_train (n,), x_test and y_test; either all 50,000
and 10,000 images, or a part of them. From the Python version of the archive at
https://www.cs.toronto.edu/~kriz/cifar.html, unpacked:

    import pickle
    import numpy as np

    def batch(name):
        with open(f"cifar-10-batches-py/{name}", "rb") as file:
            part = pickle.load(file, encoding="bytes")
        x = part[b"data"].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return x, np.array(part[b"labels"], dtype=np.uint8)

    x, y = zip(*(batch(f"data_batch_{k}") for k in range(1, 6)))
    x_test, y_test = batch("test_batch")
    np.savez_compressed("FILE.npz", x_train=np.concatenate(x), y_train=np.concatenate(y),
                        x_test=x_test, y_test=y_test)
"""

from book_table import command, common_arguments, new_parser, parse, report

#: dropout -> test error, training error, passes [S table 65.4]
BOOK = {False: (42.28, 0.02, 200), True: (42.92, 5.62, 300)}


def main():
    parser = new_parser(__doc__, __file__)
    common_arguments(parser, epochs=200, every=5, batch_size=50)
    options = parse(parser)
    batch = [
        f"--batch-size {options.batch_size}",
        f"--learning-rate {options.learning_rate:g}",
    ]
    report(
        options,
        (2048, 2048),
        "relu",
        command=command(options, *batch),
        book=BOOK[bool(options.dropout)],
    )


if __name__ == "__main__":
    main()
