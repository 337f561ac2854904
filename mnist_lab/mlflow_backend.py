"""MLflow, imported with the settings it reads when it is imported, and without its log noise.

Every module that writes or reads records imports it from here.
"""

from __future__ import annotations

import logging
import os

from mnist_lab.deferred import defer

# Nothing is sent anywhere, and git is not looked for. What a user has set is obeyed.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
# One file an artifact: a bar for each is noise.
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
# Two lines at the end of each run, with the password that its address may have.
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
# A server may be away for a minute: a request is tried again after 0, 2, 4, 8, 16 and 32 s and up
# to 2 s more each. A refused one is given up after 62 to 72 s, one that is not answered at all
# after 142 s at most.
os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "6")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR", "1")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_BACKOFF_JITTER", "2")
os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")

# It imports a web framework.
defer("mlflow", "gateway")
import mlflow  # noqa: E402

# MLflow announces each schema migration of a new database; that is not news to the user.
for _name in ("mlflow", "alembic"):
    logging.getLogger(_name).setLevel(logging.WARNING)
# A store that is away, read-only or full is said by us, once and without a traceback.
for _name in ("mlflow.store.db.utils", "urllib3.connectionpool"):
    logging.getLogger(_name).setLevel(logging.CRITICAL)
# It warns with every model where no pip is installed, as in uv's environments.
logging.getLogger("mlflow.utils.environment").setLevel(logging.ERROR)

__all__ = ["mlflow"]
