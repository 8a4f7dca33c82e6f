"""Networks in files: the codecs of `Network` and `SiameseNetwork`, and `load_network`."""

from dataclasses import replace
from typing import Any

from mlp.files import io
from mlp.files.encoding import Codec, Decoder, attributes_codec
from mlp.network.file_format import FEATURE_CODECS, decode_network, encode_network
from mlp.network.network import Network
from mlp.network.siamese import SiameseNetwork

__all__ = ["CODECS", "load_network"]


def _network(decoder: Decoder, content: dict[str, Any]) -> Network:
    network: Network = Network.__new__(Network)
    network.__setstate__(decode_network(decoder, content))
    return network


def _siamese_network(branch: Any, kind: Any, head: Any) -> SiameseNetwork:
    """Make a network of a branch and a head, which must be of this kind."""
    layers = () if head is None else head.layer_sizes[1:-1]
    activations = "relu" if head is None else head.spec.activations
    made = SiameseNetwork(branch, kind, layers, activations)
    sizes = [h and h.layer_sizes for h in (head, made.head)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"the head does not fit head={kind!r}")
    if made.head is not None:
        made.head.params[:] = head.params
    made.refold()
    return made


SIAMESE = attributes_codec(SiameseNetwork, ("branch", "kind", "head"), _siamese_network)


def _siamese(decoder: Decoder, content: dict[str, Any]) -> Any:
    """Decode a Siamese network, whose branch is "twin" in files of version 1."""
    renamed = {"branch" if k == "twin" else k: v for k, v in content.items()}
    return SIAMESE.decode(decoder, renamed)


#: codecs of networks, by their names in files
CODECS: dict[str, Codec] = {
    **FEATURE_CODECS,
    "Network": Codec(Network, encode_network, _network),
    "SiameseNetwork": replace(SIAMESE, decode=_siamese),
}


def load_network(path: Any, **external: Any) -> Any:
    """The network in a file of an estimator or of a `Network`.

    scikit-learn is not imported, so that a small process can predict::

        network = mlp.load_network("model.mlp")
        network.forward(X)

    The file is checked as `load` checks it.

    Parameters
    ----------
    path : str or path-like
        A file that ``save`` of an estimator or a network has written.
    **external : object
        A loss of the user's own, which the file doesn't hold; None will do for a network
        that only predicts.

    Returns
    -------
    Network
        Of a `SiameseClassifier`, its ``SiameseNetwork``.

    Raises
    ------
    ValueError
        If `load` would raise it for the file, or if there is no network in it.
    OSError
        If the file can't be read.

    Examples
    --------
    >>> import mlp, os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "xor.mlp")
    >>> mlp.Network([2, 2, 1]).save(path)
    >>> mlp.load_network(path).layer_sizes
    (2, 2, 1)
    """
    network, _ = io.read(path, CODECS, external, part=_network_node)
    return network


def _network_node(content: Any) -> Any:
    """The JSON of the network in that of an estimator."""
    if "estimator" not in content:
        return content
    name, _, fitted = content["estimator"]
    if "network_" not in fitted:
        raise io.NoSuchPart(f"it holds a {name} without a fitted network")
    return fitted["network_"]
