"""The variants of the multilayer perceptron that the lab knows by name.

Each is a set of fields over the baseline, with a line on what it is and its source. An experiment
may start from one (`variant = "maxout"`) or from fields of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Variant:
    """A named variant.

    Attributes:
        what: what it is, in a line.
        source: where it comes from.
        fields: the fields of `RunConfig` that differ from the baseline's.
    """

    what: str
    source: str
    fields: dict[str, Any]


def _fields(**fields: Any) -> dict[str, Any]:
    return fields


VARIANTS: dict[str, Variant] = {
    "baseline": Variant(
        "one hidden layer of 512 ReLU units", "Chollet, 2021, section 2.1", _fields()
    ),
    # Width and depth.
    "softmax_regression": Variant(
        "no hidden layer", "LeCun et al., 1998, section III.C", _fields(hidden=())
    ),
    "narrow": Variant("32 hidden units", "Nielsen, 2015, chapter 1", _fields(hidden=(32,))),
    "wide": Variant("2048 hidden units", "Simard et al., 2003", _fields(hidden=(2048,))),
    "deep": Variant(
        "three hidden layers of 512", "Hinton et al., 2012", _fields(hidden=(512, 512, 512))
    ),
    "lenet_300_100": Variant(
        "hidden layers of 300 and 100",
        "LeCun et al., 1998, section III.C",
        _fields(hidden=(300, 100)),
    ),
    "residual": Variant(
        "four hidden layers of 256, each but the first added to its input",
        "He et al., 2016",
        _fields(hidden=(256, 256, 256, 256), residual=True),
    ),
    # Activations.
    "gelu": Variant("GELU", "Hendrycks and Gimpel, 2016", _fields(activation="gelu")),
    "silu": Variant("SiLU, or swish", "Elfwing et al., 2018", _fields(activation="silu")),
    "elu": Variant("ELU", "Clevert et al., 2016", _fields(activation="elu")),
    "selu": Variant("SELU", "Klambauer et al., 2017", _fields(activation="selu")),
    "tanh": Variant("tanh", "LeCun et al., 1989", _fields(activation="tanh")),
    "scaled_tanh": Variant(
        "1.7159 tanh(2x/3)", "LeCun et al., 1998, appendix A", _fields(activation="scaled_tanh")
    ),
    "sigmoid": Variant("logistic sigmoid", "Rumelhart et al., 1986", _fields(activation="sigmoid")),
    "softplus": Variant("softplus", "Glorot et al., 2011", _fields(activation="softplus")),
    "maxout": Variant(
        "240 maxout units of 5 pieces",
        "Goodfellow et al., 2013",
        _fields(hidden=(240,), activation="maxout", maxout_pieces=5),
    ),
    # Noise and normalization.
    "dropout": Variant(
        "hidden units dropped with rate 0.5, inputs with 0.2",
        "Srivastava et al., 2014",
        _fields(dropout=0.5, input_dropout=0.2),
    ),
    "layer_dropout": Variant(
        "two hidden layers of 512 with rates of their own",
        "Srivastava et al., 2014",
        _fields(hidden=(512, 512), layer_dropout=(0.2, 0.5)),
    ),
    "drop_connect": Variant(
        "weights dropped with rate 0.5", "Wan et al., 2013", _fields(drop_connect=0.5)
    ),
    "input_noise": Variant(
        "Gaussian noise on the inputs", "Sietsma and Dow, 1991", _fields(input_noise=0.3)
    ),
    "hidden_noise": Variant(
        "Gaussian noise on the hidden units", "Rasmus et al., 2015", _fields(hidden_noise=0.3)
    ),
    "batch_norm": Variant(
        "batch normalization", "Ioffe and Szegedy, 2015", _fields(normalization="batch")
    ),
    "layer_norm": Variant("layer normalization", "Ba et al., 2016", _fields(normalization="layer")),
    "rms_norm": Variant(
        "RMS normalization", "Zhang and Sennrich, 2019", _fields(normalization="rms")
    ),
    # Penalties and targets.
    "l1": Variant("penalty on the weights' magnitudes", "Tibshirani, 1996", _fields(l1=1e-5)),
    "l2": Variant("penalty on the weights' squares", "Krogh and Hertz, 1992", _fields(l2=1e-4)),
    "weight_decay": Variant(
        "decoupled weight decay", "Loshchilov and Hutter, 2019", _fields(weight_decay=0.01)
    ),
    "max_norm": Variant(
        "norm of each unit's weights at most 2", "Srivastava et al., 2014", _fields(max_norm=2.0)
    ),
    "label_smoothing": Variant(
        "a tenth of each target spread over all digits",
        "Szegedy et al., 2016",
        _fields(label_smoothing=0.1),
    ),
    # Initial weights.
    "glorot_normal": Variant(
        "Glorot's variance, normal", "Glorot and Bengio, 2010", _fields(initializer="glorot_normal")
    ),
    "he_uniform": Variant(
        "He's variance, uniform", "He et al., 2015", _fields(initializer="he_uniform")
    ),
    "he_normal": Variant(
        "He's variance, normal", "He et al., 2015", _fields(initializer="he_normal")
    ),
    "orthogonal": Variant(
        "orthogonal matrices", "Saxe et al., 2014", _fields(initializer="orthogonal")
    ),
    "fixed_normal": Variant(
        "normal with standard deviation 0.01",
        "Krizhevsky et al., 2012",
        _fields(initializer="normal", initializer_scale=0.01),
    ),
    "fixed_uniform": Variant(
        "uniform in [-0.05, 0.05]",
        "Simard et al., 2003",
        _fields(initializer="uniform", initializer_scale=0.05),
    ),
    "zeros": Variant(
        "all weights 0: the hidden units stay equal",
        "Rumelhart et al., 1986, on breaking symmetry",
        _fields(initializer="zeros"),
    ),
    # Losses and outputs.
    "sigmoid_outputs": Variant(
        "ten binary cross-entropies of sigmoid outputs",
        "Nielsen, 2015, chapter 3",
        _fields(output="sigmoid"),
    ),
    "squared_error": Variant(
        "squared error of softmax outputs",
        "Hui and Belkin, 2021",
        _fields(loss="squared_error"),
    ),
    "squared_error_sigmoid": Variant(
        "squared error of sigmoid outputs",
        "Rumelhart et al., 1986",
        _fields(loss="squared_error", output="sigmoid"),
    ),
    "squared_error_linear": Variant(
        "squared error of linear outputs",
        "Hui and Belkin, 2021",
        _fields(loss="squared_error", output="linear"),
    ),
    "squared_hinge": Variant(
        "squared hinge loss of linear outputs",
        "Tang, 2013",
        _fields(loss="squared_hinge", output="linear"),
    ),
    # Optimizers.
    "sgd": Variant(
        "stochastic gradient descent",
        "Robbins and Monro, 1951",
        _fields(optimizer="sgd", learning_rate=0.1),
    ),
    "momentum": Variant(
        "SGD with momentum",
        "Polyak, 1964",
        _fields(optimizer="sgd", learning_rate=0.03, momentum=0.9),
    ),
    "nesterov": Variant(
        "SGD with Nesterov's momentum",
        "Sutskever et al., 2013",
        _fields(optimizer="sgd", learning_rate=0.03, momentum=0.9, nesterov=True),
    ),
    "adam": Variant("Adam", "Kingma and Ba, 2015", _fields(optimizer="adam")),
    "adamw": Variant(
        "Adam with decoupled weight decay",
        "Loshchilov and Hutter, 2019",
        _fields(optimizer="adamw", weight_decay=0.01),
    ),
    "lion": Variant(
        "Lion: the sign of a momentum",
        "Chen et al., 2023",
        _fields(optimizer="lion", learning_rate=1e-4),
    ),
    "muon": Variant("Muon: orthogonalized momentum", "Jordan, 2024", _fields(optimizer="muon")),
    "ema": Variant(
        "evaluated with averaged weights", "Polyak and Juditsky, 1992", _fields(ema_decay=0.99)
    ),
    # Schedules.
    "exponential": Variant(
        "learning rate times 0.7 after each epoch",
        "Hinton et al., 2012",
        _fields(learning_rate_schedule={"type": "exponential", "factor": 0.7}),
    ),
    "step": Variant(
        "learning rate times 0.1 after every 3 epochs",
        "Krizhevsky et al., 2012",
        _fields(learning_rate_schedule={"type": "step", "factor": 0.1, "every": 3}),
    ),
    "linear": Variant(
        "learning rate straight to 0",
        "Howard and Ruder, 2018",
        _fields(learning_rate_schedule={"type": "linear", "final": 0.0}),
    ),
    "flat_linear": Variant(
        "constant for two epochs, then straight to 0",
        "Goodfellow et al., 2013",
        _fields(learning_rate_schedule={"type": "flat_linear", "flat": 2.0, "final": 0.0}),
    ),
    "cosine": Variant(
        "half a cosine to 0",
        "Loshchilov and Hutter, 2017",
        _fields(learning_rate_schedule={"type": "cosine"}),
    ),
    "warmup": Variant(
        "a linear rise over the first epoch, then half a cosine",
        "Goyal et al., 2017",
        _fields(learning_rate_schedule={"type": "cosine", "warmup": 1.0}),
    ),
    "one_cycle": Variant(
        "one cycle of the learning rate",
        "Smith, 2018",
        _fields(learning_rate_schedule={"type": "one_cycle"}, learning_rate=3e-3),
    ),
    "momentum_ramp": Variant(
        "momentum from 0.5 to 0.99 over the training",
        "Srivastava et al., 2014",
        _fields(
            optimizer="sgd",
            learning_rate=0.03,
            momentum=0.5,
            momentum_schedule={"type": "linear", "final": 0.99},
        ),
    ),
    # Images.
    "pixels_lecun": Variant(
        "pixels from -0.1 to 1.175", "LeCun et al., 1998", _fields(pixel_low=-0.1, pixel_high=1.175)
    ),
    "standardized": Variant(
        "mean 0 and variance 1 over all pixels",
        "LeCun et al., 2012, Efficient BackProp",
        _fields(scaling="standardize"),
    ),
    "standardized_pixels": Variant(
        "mean 0 and variance 1 of each pixel",
        "LeCun et al., 2012, Efficient BackProp",
        _fields(scaling="standardize_pixels"),
    ),
    "pca": Variant("the first 70 principal components", "Tang, 2013", _fields(pca=70)),
    "shifts": Variant("shifts by up to 2 pixels", "LeCun et al., 1998", _fields(shift=2.0)),
    "affine": Variant(
        "shifts, rotations, changes of size and shear",
        "LeCun et al., 1998",
        _fields(shift=1.0, rotation=15.0, zoom=0.15, shear=7.5),
    ),
    "elastic": Variant("elastic distortions", "Simard et al., 2003", _fields(elastic_alpha=34.0)),
    "mixup": Variant("mixtures of two images", "Zhang et al., 2018", _fields(mixup=0.2)),
    # Whole architectures.
    "self_normalizing": Variant(
        "three SELU layers of 256 with alpha dropout",
        "Klambauer et al., 2017",
        _fields(
            hidden=(256, 256, 256),
            activation="selu",
            initializer="lecun_normal",
            alpha_dropout=0.05,
            scaling="standardize",
        ),
    ),
    "gmlp": Variant(
        "two blocks of gMLP on 16 patches",
        "Liu et al., 2021",
        _fields(
            architecture="gmlp",
            hidden=(64, 64),
            block_width=128,
            activation="gelu",
            optimizer="adam",
        ),
    ),
    "mixer": Variant(
        "two blocks of MLP-Mixer on 16 patches",
        "Tolstikhin et al., 2021",
        _fields(
            architecture="mixer",
            hidden=(64, 64),
            token_width=64,
            block_width=256,
            activation="gelu",
            optimizer="adam",
        ),
    ),
}
