"""Train on MNIST by single samples: the experiment of [S ex. 65.9], table 65.3.

    python bench/mnist.py --data FILE.npz --activation relu --checkpoint relu.pickle
    python bench/mnist.py --data FILE.npz --activation logistic \\
        --dropout 0.1,0.5,0.5 --scaling test

784-512-512-10, softmax outputs and cross-entropy, pixels/255 centred by the mean image,
stochastic gradient steps on single samples [S 65.150], mu = 0.001, rho = 0.0001, 200
passes, each in a new order. After an interruption the same command resumes from the
checkpoint. The checkpoint is a pickle: use only files that you wrote yourself.

FILE.npz contains x_train (60000, 28, 28), y_train (60000,), x_test (10000, 28, 28) and
y_test (10000,). OpenML has the images in the usual order, the training images first:

    import numpy as np
    from sklearn.datasets import fetch_openml

    X, y = fetch_openml("mnist_784", version=1, return_X_y=True, as_frame=False)
    X, y = X.astype(np.uint8), y.astype(np.uint8)
    np.savez_compressed("FILE.npz", x_train=X[:60000], y_train=y[:60000],
                        x_test=X[60000:], y_test=y[60000:])
"""

from book_table import command, common_arguments, new_parser, parse, report

#: activation, dropout -> test error, training error, passes [S table 65.3]
BOOK = {
    ("logistic", False): (2.18, 1.02, 200),
    ("tanh", False): (1.84, 0.00167, 200),
    ("relu", False): (1.82, 0.00167, 200),
    ("logistic", True): (6.22, 6.25, 200),
}


def main():
    parser = new_parser(__doc__, __file__)
    common_arguments(parser, epochs=200, every=10, batch_size=1)
    parser.add_argument(
        "--activation",
        default="relu",
        choices=("relu", "tanh", "logistic"),
        help="activation of the hidden layers; 'logistic' is the book's sigmoid",
    )
    options = parse(parser)
    shown = ["--activation", options.activation]
    if options.batch_size != 1:
        shown += ["--batch-size", str(options.batch_size)]
    report(
        options,
        (512, 512),
        options.activation,
        command=command(options, *shown),
        book=BOOK.get((options.activation, bool(options.dropout))),
    )


if __name__ == "__main__":
    main()
