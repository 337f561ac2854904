"""What is sent to a store later, and what it leaves as it is."""

from __future__ import annotations

from pathlib import Path

import mlflow

from mnist_lab.measured import Measured, Value
from mnist_lab.tracking import Store


def test_a_run_that_was_gone_on_with_keeps_its_end(store: Store, tmp_path: Path) -> None:
    client = mlflow.MlflowClient()
    experiment = store.experiment("e")
    tags = {"process": "here 1 1.00", "verdict": "better"}
    ended: dict[str, mlflow.entities.Run] = {}
    files = tmp_path / "files"
    (files / "figures").mkdir(parents=True)
    for name in ("trials.csv", "missing.csv", "figures/a.svg"):
        (files / name).write_text("old")
    for writer in ("here 1 1.00", "here 2 2.00"):
        run_id = client.create_run(experiment, tags={**tags, "process": writer}).info.run_id
        client.set_terminated(run_id, "FINISHED", 2_000)
        client.log_text(run_id, "new", "trials.csv")
        kept = Measured(
            run_id=run_id,
            experiment="e",
            name="run",
            store="",
            start_ms=0,
            tags={**tags, "verdict": "none", "reason": "the store was away"},
            metrics=[Value("loss", 0.5, 1, 1)],
            status="FAILED",
            end_ms=1_000,
        )
        store.deliver(kept, tmp_path)
        ended[writer] = client.get_run(run_id)
        assert ended[writer].data.metrics == {"loss": 0.5}
        for name, content in (
            ("trials.csv", "old" if writer == tags["process"] else "new"),
            ("missing.csv", "old"),
            ("figures/a.svg", "old"),
        ):
            there = client.download_artifacts(run_id, name, str(tmp_path))
            assert Path(there).read_text() == content
    same, other = ended.values()
    assert (same.info.status, same.info.end_time) == ("FAILED", 1_000)
    assert same.data.tags["reason"] == "the store was away"
    assert (other.info.status, other.info.end_time) == ("FINISHED", 2_000)
    assert other.data.tags["verdict"] == "better"
    assert "reason" not in other.data.tags
