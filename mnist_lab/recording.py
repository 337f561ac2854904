"""One training under one MLflow run: what a trial of a study and a run of an experiment share."""

from __future__ import annotations

import math
from collections.abc import Callable

from mnist_lab.backend import tf
from mnist_lab.config import RunConfig
from mnist_lab.data import Dataset
from mnist_lab.memory import check_memory, least_bytes, total_bytes
from mnist_lab.optimizers import constants_of
from mnist_lab.progress import Watcher
from mnist_lab.tracking import Run
from mnist_lab.training import Epoch, release_programs, threads, train


def record(
    config: RunConfig,
    data: Dataset,
    seed: int,
    run: Run,
    watcher: Watcher,
    stop: Callable[[Epoch], bool] = lambda epoch: False,
) -> None:
    """Train and record; a training that breaks down ends its run as failed, with the reason.

    Args:
        config: what to train.
        data: the digits.
        seed: of the training.
        run: where it is recorded, open and empty; `run.status` tells how it went.
        watcher: is told of every epoch.
        stop: is asked after every epoch but those that broke down; True makes it the last.
    """
    training, started, fits = None, False, False
    try:
        _make_room(config, len(data.train_labels) - config.validation_size)
        fits = True
        training = train(config, data, seed=seed)
        training.begin()  # it compiles while Python writes down how it begins
        constants = constants_of(config)
        run.log_start(config, seed, threads(), data, training.parameters, constants)
        started = True
        watcher.begin(config.epochs)
        for epoch in training:
            run.log_epoch(epoch)
            watcher.epoch(epoch)
            if broken := _broken(epoch, held_out=config.validation_size > 0):
                run.fail(broken)
                return
            if stop(epoch):
                break
        test_loss, test_accuracy, answers = training.examination()
        # The last update is seen by no training loss: where nothing is held out, here is where
        # it shows that it broke the weights.
        if config.validation_size == 0 and not math.isfinite(test_loss):
            run.fail(f"test_loss {test_loss} after epoch {run.epochs_done}")
            return
        run.log_result(test_loss, test_accuracy, training.model(), answers)
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        if not started:
            parameters = None if training is None else training.parameters
            run.log_start(config, seed, threads(), data, parameters)
        # What was not begun, for what others use of the memory, may fit into it next time.
        images = len(data.train_labels) - config.validation_size
        never = fits or least_bytes(config, images) > total_bytes()
        run.fail(f"out of memory: {error}", by_itself=never)


def _make_room(config: RunConfig, images: int) -> None:
    """Refuse what does not fit, also without the programs that are kept for their next use."""
    try:
        check_memory(config, images)
    except MemoryError:
        release_programs()
        check_memory(config, images)


def _broken(epoch: Epoch, held_out: bool) -> str:
    """What is no longer a number in an epoch, or an empty text."""
    losses = {"loss": epoch.loss} | ({"val_loss": epoch.val_loss} if held_out else {})
    wrong = [f"{key} {loss}" for key, loss in losses.items() if not math.isfinite(loss)]
    return f"{', '.join(wrong)} in epoch {epoch.number}" if wrong else ""
