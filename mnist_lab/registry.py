"""MLflow's model registry: a study's winners, and which of them is its champion."""

from __future__ import annotations

from dataclasses import dataclass

from mnist_lab.connection import TrackingError, as_default, first_line, without_password
from mnist_lab.interrupts import held
from mnist_lab.mlflow_backend import mlflow
from mnist_lab.tracking import Store

CHAMPION = "champion"
DATA_TAG = "data_sha256"
# What else two validation metrics must have in common to be compared.
JUDGED_BY = ("validation_size", "seeds_per_trial")
_METRIC_TAG = "mnist_lab.metric"
_VALUE_TAG = "mnist_lab.metric_value"


@dataclass(frozen=True)
class Winner:
    """A model that a study has come to.

    Attributes:
        run_id: of the run that trained it.
        model_uri: where that run logged it.
        metric: what the search chose by, of validation images: "val_accuracy" or "val_loss".
        value: of the metric in the search.
        tags: more to be said about it.
    """

    run_id: str
    model_uri: str
    metric: str
    value: float
    tags: dict[str, str]


@dataclass(frozen=True)
class Registered:
    """Where a winner stands.

    Attributes:
        name: of the registered model.
        version: the winner's.
        champion: the version that has the alias "champion" now.
        reason: why that is another one, or "".
    """

    name: str
    version: str
    champion: str
    reason: str

    @property
    def uri(self) -> str:
        """The address of the champion for MLflow."""
        return f"models:/{self.name}@{CHAMPION}"


@held()
def register(store: Store, name: str, winner: Winner) -> Registered:
    """Make a winner a version of the registered model, and the champion unless it is worse.

    It is worse if its validation metric is. A champion by another metric, or on other data, cannot
    be compared with and stays. A winner that is registered already keeps its version.

    Args:
        store: where the winner's run is recorded.
        name: of the registered model; "/" and ":", which MLflow refuses, become "-".
        winner: what to register.

    Raises:
        TrackingError: the store has no model registry, or refuses to write to it.
    """
    client = mlflow.MlflowClient(tracking_uri=store.uri)
    try:
        with as_default(store.uri):
            return _register(client, name.replace("/", "-").replace(":", "-"), winner)
    except mlflow.MlflowException as error:
        shown = without_password(store.uri)
        raise TrackingError(
            f"the model registry of {shown} did not take '{name}' "
            f"({first_line(error, store.uri, shown)}); the runs are on record all the same, and "
            "the same command registers the model once it can"
        ) from None


def _register(client: mlflow.MlflowClient, name: str, winner: Winner) -> Registered:
    version = _version(client, name, winner)
    champion = _champion(client, name)
    itself = champion is None or str(champion.version) == version
    reason = "" if champion is None or itself else _worse(winner, champion)
    if champion is None or not reason:
        client.set_registered_model_alias(name, CHAMPION, version)
        return Registered(name, version, version, "")
    return Registered(name, version, str(champion.version), reason)


def _version(client: mlflow.MlflowClient, name: str, winner: Winner) -> str:
    """The version that the winner has, or gets."""
    try:
        client.create_registered_model(name)
    except mlflow.MlflowException:  # it is there, or the next call says what is wrong
        client.get_registered_model(name)
    tags = {**winner.tags, _METRIC_TAG: winner.metric, _VALUE_TAG: repr(winner.value)}
    for known in client.search_model_versions(f"run_id = '{winner.run_id}'"):
        if known.name == name:
            # A search that was begun anew may have come to the same run in another way.
            for key, value in tags.items():
                if known.tags.get(key) != value:
                    client.set_model_version_tag(name, str(known.version), key, value)
            return str(known.version)
    made = client.create_model_version(
        name,
        source=winner.model_uri,
        run_id=winner.run_id,
        model_id=winner.model_uri.removeprefix("models:/"),
        tags=tags,
    )
    return str(made.version)


def _champion(
    client: mlflow.MlflowClient, name: str
) -> mlflow.entities.model_registry.ModelVersion | None:
    version = client.get_registered_model(name).aliases.get(CHAMPION)
    return None if version is None else client.get_model_version(name, version)


def _worse(winner: Winner, champion: mlflow.entities.model_registry.ModelVersion) -> str:
    """Why a winner does not take the champion's place, or an empty text."""
    metric, value = (champion.tags.get(key) for key in (_METRIC_TAG, _VALUE_TAG))
    if champion.tags.get(DATA_TAG) != winner.tags.get(DATA_TAG):
        return "it was chosen on other data"
    for key in JUDGED_BY:  # versions of before these were told have none
        judged, here = champion.tags.get(key), winner.tags.get(key)
        if judged not in (None, here):
            return f"it was chosen with {key} {judged}, not {here}"
    if metric != winner.metric or value is None:
        return f"it was chosen by {metric or 'nothing that is on record'}, not by {winner.metric}"
    sign = -1 if metric.endswith("loss") else 1
    if sign * winner.value >= sign * float(value):
        return ""
    return f"its {metric} in the search, {float(value):.4f}, is better"
