"""MLflow, imported with the settings it reads when it is imported, and without its log noise.

Every module that writes or reads records imports it from here.
"""

from __future__ import annotations

import logging
import os

# Nothing is sent anywhere, and git is not looked for. What a user has set is obeyed.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# One file an artifact: a bar for each is noise.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")

import mlflow

# MLflow announces each schema migration of a new database; that is not news to the user.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)
# It warns with every model where no pip is installed, as in uv's environments.
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)

__all__ = ["mlflow"]
