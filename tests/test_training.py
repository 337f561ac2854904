from __future__ import annotations

import gc
import math
import subprocess
import sys
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest

import mnist_lab as lab
from mnist_lab.backend import keras
from mnist_lab.config import CONSTANTS, ConfigError, RunConfig
from mnist_lab.declared import Declared
from mnist_lab.models import build_network
from mnist_lab.optimizers import build_optimizer
from mnist_lab.plan import permutation, plan_of
from mnist_lab.preprocessing import set_statistics
from mnist_lab.provenance import cores
from mnist_lab.training import _program, _structure, threads
from tests.conftest import ROOT, environment, slow


def config(**fields: object) -> lab.RunConfig:
    return lab.RunConfig(**{"hidden": (32,), "epochs": 2, **fields})


class OneUpdateAtATime(keras.callbacks.Callback):  # type: ignore[misc]  # Keras has no types
    """Sets the learning rate before each update of `fit`, as Keras' users do."""

    def __init__(self, rates: np.ndarray) -> None:
        super().__init__()
        self.rates = rates

    def on_train_batch_begin(self, batch: int, logs: object = None) -> None:
        self.model.optimizer.learning_rate = float(self.rates[batch])


def fit_in_the_same_order(
    config: lab.RunConfig, data: lab.Dataset, seed: int
) -> tuple[dict[str, list[float]], list[np.ndarray]]:
    """Plain `keras.Model.fit` from the same weights over the same batches."""
    network = build_network(config, seed)
    training, validation = data.split(config.validation_size)
    set_statistics(network, config, training)
    outputs = network.outputs[0]
    from_logits = config.loss == "cross_entropy"
    if not from_logits:
        outputs = keras.layers.Activation(config.output)(outputs)
    for layer in network.layers:
        if isinstance(layer, keras.layers.Dense) and layer.trainable:
            layer.kernel.regularizer = keras.regularizers.L1L2(config.l1, config.l2)
            if config.max_norm:
                layer.kernel.constraint = keras.constraints.MaxNorm(config.max_norm, axis=0)
    plain = keras.Model(network.input, outputs)
    losses = {
        ("cross_entropy", "softmax"): keras.losses.CategoricalCrossentropy(
            label_smoothing=config.label_smoothing, from_logits=True
        ),
        ("cross_entropy", "sigmoid"): keras.losses.BinaryCrossentropy(from_logits=True),
        ("squared_error", config.output): keras.losses.MeanSquaredError(),
        ("squared_hinge", "linear"): keras.losses.SquaredHinge(),
    }
    plain.compile(
        optimizer=build_optimizer(config, network),
        loss=losses[config.loss, config.output],
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        run_eagerly=True,  # to compile it takes longer than these few steps
    )
    history: dict[str, list[float]] = {}
    one_hot = np.eye(10, dtype=np.float32)
    for epoch in range(config.epochs):
        plan = plan_of(config, seed, epoch, len(training))
        passed = plain.fit(
            training.images[plan.order].astype(np.float32),
            one_hot[training.labels[plan.order]],
            batch_size=config.batch_size,
            validation_data=(validation.images.astype(np.float32), one_hot[validation.labels]),
            shuffle=False,
            verbose=0,
            callbacks=[OneUpdateAtATime(plan.rates)],
        )
        for key, values in passed.history.items():
            history.setdefault(key, []).extend(values)
    return history, plain.get_weights()


@pytest.fixture(scope="module")
def few(small: lab.Dataset) -> lab.Dataset:
    """1,000 training images, of which these tests hold out 300: six batches of 128, one short."""
    return lab.Dataset(
        small.train_images[:1_000],
        small.train_labels[:1_000],
        small.test_images,
        small.test_labels,
        name="few",
        source="mnist",
    )


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"hidden": (30, 20, 10), "activation": "tanh"},
        {"batch_size": 5_000, "optimizer": "sgd", "learning_rate": 0.5},  # one short batch
        {"weight_decay": 0.1, "optimizer": "adam", "learning_rate": 0.01},
        {"normalization": "batch", "batch_size": 64},
        {"l1": 1e-4, "l2": 1e-3},
        {"loss": "squared_error", "output": "sigmoid"},
        {"learning_rate_schedule": {"type": "one_cycle"}, "learning_rate": 0.01},
        {"scaling": "standardize_pixels", "pca": 30},
        *slow(
            {"hidden": ()},
            {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.8, "nesterov": True},
            {"batch_size": 699},  # one image in the last batch
            {"batch_size": 100, "optimizer": "adam"},  # no short batch
            {"normalization": "layer"},
            {"max_norm": 0.5, "learning_rate": 0.01},
            {"label_smoothing": 0.2},
            {"output": "sigmoid"},
            {"loss": "squared_hinge", "output": "linear"},
            {"optimizer": "sgd", "learning_rate": 0.1, "momentum": 0.8},
            {"optimizer": "adam", "beta_1": 0.7, "beta_2": 0.9, "epsilon": 1e-3},
            {"rho": 0.6, "epsilon": 1e-4, "momentum": 0.7},
            {"optimizer": "lion", "learning_rate": 1e-4},
            {"optimizer": "muon", "weight_decay": 0.01, "momentum": 0.8},
            {"hidden": (24, 24), "residual": True, "activation": "maxout", "maxout_pieces": 3},
        ),
    ],
)
def test_training_is_keras_fit(few: lab.Dataset, fields: dict[str, object]) -> None:
    """The same batches, metrics and updates as `fit`, up to the rounding of float32."""
    chosen = config(validation_size=300, **fields)
    training = lab.train(chosen, few, seed=3)
    epochs = list(training)
    history, weights = fit_in_the_same_order(chosen, few, seed=3)
    for key in ("loss", "accuracy", "val_loss", "val_accuracy"):
        measured = [getattr(epoch, key) for epoch in epochs]
        assert measured == pytest.approx(history[key], rel=2e-3, abs=4e-3), key
    for ours, theirs in zip(training.weights(), weights, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0.02, atol=3e-3)


_BITS = """
import mnist_lab as lab
from mnist_lab.provenance import cores
from mnist_lab.training import threads
assert threads() == cores()
chosen = lab.RunConfig(epochs=1, dropout=0.2, validation_size=10_000)
runs = [lab.train(chosen, lab.load_mnist(), seed=seed) for seed in (5, 5, 6)]
epochs = [next(run) for run in runs]
one, same, other = (run.weights() for run in runs)
assert all((a == b).all() for a, b in zip(one, same, strict=True))
assert (one[0] != other[0]).any()
assert epochs[0].loss == epochs[1].loss
assert epochs[0].val_accuracy == epochs[1].val_accuracy
assert epochs[0].val_accuracy > 0.94
"""


def test_the_same_seed_gives_the_same_bits_on_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS", raising=False)
    command = [sys.executable, "-c", _BITS]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_threads_are_those_that_tensorflow_was_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_NUM_INTRAOP_THREADS", "3")
    assert threads() == 3
    monkeypatch.delenv("TF_NUM_INTRAOP_THREADS")
    assert threads() == cores()


def test_an_epoch_begun_beforehand_is_the_first(
    small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = lab.train(config(shift=1.0, hidden=(12,)), small, seed=1)
    begun.begin()
    with monkeypatch.context() as patch:
        patch.setattr(keras.Model, "__call__", None)  # whoever traces calls the network
        epochs = list(begun)
    plain = lab.train(begun.config, small, seed=1)
    assert [epoch.loss for epoch in plain] == [epoch.loss for epoch in epochs]
    assert all((a == b).all() for a, b in zip(begun.weights(), plain.weights(), strict=True))


def test_an_epoch_begun_beforehand_changes_nothing_before_it_is_asked_for(
    small: lab.Dataset,
) -> None:
    begun = lab.train(config(), small, seed=1)
    before = begun.weights()
    begun.begin()
    assert all((a == b).all() for a, b in zip(begun.weights(), before, strict=True))
    next(begun)
    assert (begun.weights()[0] != before[0]).any()


def test_the_error_of_an_epoch_begun_beforehand_reaches_who_asks_for_it(
    small: lab.Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> None:
        raise MemoryError("no room")

    begun = lab.train(config(), small, seed=1)
    monkeypatch.setattr(type(begun._program), "train_epoch", fails)
    begun.begin()
    with pytest.raises(MemoryError, match="no room"):
        next(begun)


def test_trainings_in_turn_do_not_disturb_each_other(small: lab.Dataset) -> None:
    chosen = config(dropout=0.3, normalization="batch")
    alone = lab.train(chosen, small, seed=1)
    list(alone)
    first, second = lab.train(chosen, small, seed=1), lab.train(chosen, small, seed=2)
    for _ in zip(first, second, strict=True):
        pass
    assert all((a == b).all() for a, b in zip(alone.weights(), first.weights(), strict=True))


def test_every_epoch_has_a_fresh_order_of_all_images() -> None:
    first, second = (permutation(0, epoch, 1_000) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(1_000))
    assert (first != second).any()


_NUMBERS = """
import mnist_lab as lab
data = lab.load_mnist()
data = lab.Dataset(data.train_images[:2000], data.train_labels[:2000], data.test_images[:500],
                   data.test_labels[:500], "part", "mnist")
base = lab.RunConfig(hidden=(32,), epochs=2, dropout=0.5, weight_decay=0.5, pixel_low=-1.0,
                     elastic_alpha=20.0)
changes = ({}, {"learning_rate": 0.02}, {"dropout": 0.01}, {"weight_decay": 0.9},
           {"pixel_low": -0.5}, {"pixel_high": 2.0}, {"elastic_alpha": 34.0},
           {"elastic_sigma": 6.0}, {"epochs": 3})
for change in changes:
    training = lab.train(base.replace(**change), data, seed=9)
    print(next(training).loss)
    list(training), training.test(), training.model()
"""


@pytest.mark.slow
def test_other_numbers_need_no_new_compilation(tmp_path: Path) -> None:
    """Counted by XLA, which writes down what it compiles."""
    flags = f"--xla_dump_to={tmp_path} --xla_dump_hlo_as_text --xla_dump_hlo_pass_re=none"
    done = subprocess.run(
        [sys.executable, "-c", _NUMBERS],
        cwd=ROOT,
        env=environment(XLA_FLAGS=flags, TF_XLA_FLAGS=""),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    compiled = [path.name for path in tmp_path.glob("*before_optimizations.txt")]
    assert len([name for name in compiled if "train_full_batches" in name]) == 1, compiled
    # The numbers still count: all but the last, which only trains longer, differ.
    assert len(set(done.stdout.split())) == 8


@pytest.mark.parametrize("optimizer", CONSTANTS)
def test_no_number_of_an_optimizer_makes_another_program(optimizer: str) -> None:
    """All of its numbers at once; that they count is told by the comparison with `fit`."""
    numbers = [name for name in CONSTANTS[optimizer] if name != "nesterov"]
    one, other = (
        config(optimizer=optimizer, **dict.fromkeys(numbers, value)) for value in (0.1, 0.2)
    )
    assert one != other
    assert _structure(one) == _structure(other)


# Two values of a number where they are not 0.1 and 0.2, and what there has to be beside it.
_VALUES: dict[str, tuple[Any, Any]] = {
    "layer_dropout": ([0.1], [0.2]),
    "learning_rate_schedule": ({"type": "step", "factor": 0.1, "every": 2}, {"type": "cosine"}),
    "momentum_schedule": ({"type": "linear", "final": 0.1}, {"type": "linear", "final": 0.2}),
    # The one exception: below 4 it says how many numbers a field is made of, which is a shape.
    "elastic_sigma": (4.0, 28.0),
}
_BESIDE: dict[str, dict[str, Any]] = {
    "initializer_scale": {"initializer": "normal"},
    "momentum_schedule": {"optimizer": "sgd", "momentum": 0.5},
    "beta_1": {"optimizer": "adam"},
    "beta_2": {"optimizer": "adam"},
    "elastic_sigma": {"elastic_alpha": 34.0},
}


def is_number(annotation: Any) -> bool:
    """Whether a field of this type is a real number, or has some."""
    if isinstance(annotation, type) and issubclass(annotation, Declared):
        return any(is_number(field.annotation) for field in annotation.model_fields.values())
    return annotation is float or any(map(is_number, get_args(annotation)))


@pytest.mark.parametrize(
    "name", [name for name, field in RunConfig.model_fields.items() if is_number(field.annotation)]
)
def test_no_number_makes_another_program(name: str) -> None:
    """Any field of real numbers, its part being switched on."""
    one, other = (
        config(**_BESIDE.get(name, {}), **{name: value}) for value in _VALUES.get(name, (0.1, 0.2))
    )
    assert one != other
    assert _structure(one) == _structure(other)


def test_a_smoothness_is_as_many_programs_as_its_fields_have_ranks() -> None:
    def structure(sigma: float) -> lab.RunConfig:
        return _structure(config(elastic_alpha=34.0, elastic_sigma=sigma))

    assert structure(2.0) == structure(2.1) != structure(3.0) != structure(4.0)


def test_adam_and_adamw_are_one_program() -> None:
    """Weight decay is decoupled in both, and so is not what tells them apart."""
    both = [config(optimizer=name, weight_decay=0.1) for name in ("adam", "adamw")]
    assert _structure(both[0]) == _structure(both[1])


def test_dropout_acts_in_training_only(small: lab.Dataset) -> None:
    training = lab.train(config(dropout=0.9, validation_size=500), small)
    last = list(training)[-1]
    assert last.val_accuracy > last.accuracy + 0.1
    assert training.evaluate(small.split(500)[1])[1] == last.val_accuracy


def test_evaluation_covers_the_whole_split(mnist: lab.Dataset) -> None:
    training = lab.train(config(), mnist)
    probabilities = np.asarray(training.model()(mnist.test_images[:4_321]))
    labels = mnist.test_labels[:4_321]
    split = lab.Split(mnist.test_images[:4_321], labels)
    loss, accuracy = training.evaluate(split)
    assert accuracy == pytest.approx((probabilities.argmax(axis=1) == labels).mean(), abs=1e-9)
    expected = -np.log(probabilities[np.arange(4_321), labels]).mean()
    assert loss == pytest.approx(expected, rel=1e-5)


def test_without_validation_images_nothing_is_measured_on_them(small: lab.Dataset) -> None:
    epoch = next(lab.train(config(), small))
    assert math.isnan(epoch.val_loss)
    assert math.isnan(epoch.val_accuracy)


def test_an_epoch_prints_what_was_measured() -> None:
    assert str(lab.Epoch(3, 0.25, 0.92, math.nan, math.nan, 0.7)) == (
        "epoch 3: loss 0.2500, accuracy 0.9200 (0.70 s)"
    )
    assert "val_accuracy 0.9300" in str(lab.Epoch(3, 0.25, 0.92, 0.2, 0.93, 0.7))


def test_the_model_follows_the_training(small: lab.Dataset) -> None:
    training = lab.train(config(epochs=5), small)
    list(training)
    served = np.asarray(training.model()(small.test_images)).argmax(axis=1)
    assert (served == small.test_labels).mean() == training.test()[1] > 0.6


@pytest.mark.parametrize("seed", [-1, 2**32, 1.0, True])
def test_a_wrong_seed_is_refused(small: lab.Dataset, seed: int) -> None:
    with pytest.raises(ConfigError, match="seed"):
        lab.train(config(), small, seed=seed)


def test_no_training_image_left_is_refused(small: lab.Dataset) -> None:
    with pytest.raises(ConfigError, match="validation_size: 2000"):
        lab.train(config(validation_size=2_000), small)


_MEMORY = """
import gc, resource, numpy as np, mnist_lab as lab
def resident():
    gc.collect()
    return int(open("/proc/self/statm").read().split()[1]) * resource.getpagesize() / 2**20
data = lab.load_mnist()
data = lab.Dataset(data.train_images[:1000], data.train_labels[:1000], data.test_images[:500],
                   data.test_labels[:500], "part", "mnist")
for count in range(1, 201):
    config = lab.RunConfig(hidden=(64,), epochs=1, learning_rate=1e-3 / count, dropout=0.1)
    training = lab.train(config, data, seed=count)
    list(training); training.test(); training.model()
    if count in (40, 200):
        print(resident())
"""


@pytest.mark.parametrize("optimizer", ["rmsprop", pytest.param("muon", marks=pytest.mark.slow)])
def test_a_program_that_is_let_go_of_leaves_no_graph_behind(
    small: lab.Dataset, optimizer: str
) -> None:
    def graphs_after(hidden: int) -> int:
        config = lab.RunConfig(hidden=(hidden,), epochs=1, optimizer=optimizer)
        list(lab.train(config, small))
        _program.cache_clear()
        gc.collect()
        return sum(type(known).__name__ == "FuncGraph" for known in gc.get_objects())

    assert graphs_after(8) == graphs_after(9)


@pytest.mark.slow
def test_200_trainings_in_one_process_hold_memory_flat() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY],
        cwd=ROOT,
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    early, late = map(float, done.stdout.split())
    assert late < 1.03 * early, f"{early:.0f} MiB after 40 trainings, {late:.0f} after 200"


@pytest.mark.parametrize("loss", ["cross_entropy", "squared_error"])
def test_saturated_sigmoids_are_counted_as_they_are_served(small: lab.Dataset, loss: str) -> None:
    wide = {"initializer": "normal", "initializer_scale": 1.0}  # most outputs are 0 or 1
    training = lab.train(config(output="sigmoid", loss=loss, **wide), small, seed=0)
    list(training)
    outputs = training.model().predict(small.test_images, verbose=0)
    assert (outputs.max(axis=1, keepdims=True) == outputs).sum(axis=1).max() > 1  # ties
    _, accuracy, answers = training.examination()
    assert (answers == outputs.argmax(axis=1)).all()
    assert accuracy == training.test()[1] == (answers == small.test_labels).mean()


def test_a_model_keeps_its_weights_while_the_training_goes_on(small: lab.Dataset) -> None:
    training = lab.train(config(), small, seed=0)
    models, weights = [], []
    for _ in training:
        models.append(training.model())
        weights.append(training.weights())
    assert (weights[0][0] != weights[1][0]).any()
    for model, own in zip(models, weights, strict=True):
        assert all((a == b).all() for a, b in zip(model.get_weights(), own, strict=True))


def test_a_seed_from_a_table_is_a_seed(small: lab.Dataset) -> None:
    assert lab.train(config(), small, seed=np.int64(3)).seed == 3  # type: ignore[arg-type]
    for wrong in (True, 1.0, -1, 2**32, np.int64(-1)):
        with pytest.raises(lab.UserError, match="seed: "):
            lab.train(config(), small, seed=wrong)  # type: ignore[arg-type]
