"""scikit-learn's ``MLPClassifier``, timed by `estimator`."""

from sklearn.neural_network import MLPClassifier

from peers import estimator

LIBRARY = "scikit-learn"


def prepare(job):
    if job.workload.kind == "train":
        return "fit", estimator.prepare_training(MLPClassifier, job)
    return "predict_proba", estimator.prepare_proba(MLPClassifier, job)
