"""TensorBoard, wandb and mlflow as `jaxnn.report.log` opens them, each by its own package, which is imported then."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any, cast

from jaxnn.config.settings import Config
from jaxnn.config.values import to_dict
from jaxnn.store.identity import flat

PROJECT = "jaxnn"  # where the environment (WANDB_PROJECT, MLFLOW_EXPERIMENT_NAME) names none
MOST_PARAMS = 100  # that mlflow takes at once


class TensorBoard:
    """Event files in `tensorboard` of the run's folder, one a process, by tensorboardX.

    Its SummaryWriter has a queue, whose events a kill would lose: here a row is in the file when `log` returns.
    """

    event: Any  # classes of protobuf, made as they are imported
    summary: Any
    writer: Any

    def __init__(self, folder: Path, config: Config, name: str, step: int):
        from tensorboardX import event_file_writer, summary
        from tensorboardX.proto import event_pb2, summary_pb2

        events, summaries = cast(Any, event_pb2), cast(Any, summary_pb2)  # whose classes are made as they are imported
        self.event, self.summary = events.Event, summaries.Summary
        place = folder / "tensorboard"
        place.mkdir(exist_ok=True)
        # The reader takes files by name: of two in one second, that of the later step comes later.
        self.writer = event_file_writer.EventsWriter(str(place / "events"), f".{step:012}")
        start = events.SessionLog(status=events.SessionLog.START)
        self._write(step + 1, session_log=start)  # the reader forgets what an earlier file has from this step on
        if step == 0:
            text = json.dumps(to_dict(config), indent=1)
            self._write(0, summary=summary.text("config", f"```\n{text}\n```"))

    def log(self, step: int, scalars: dict[str, float]) -> None:
        values = [self.summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        self._write(step, summary=self.summary(value=values))

    def _write(self, step: int, **what: Any) -> None:
        self.writer.write_event(self.event(wall_time=time.time(), step=step, **what))
        self.writer.flush()

    def close(self) -> None:
        self.writer.close()


class Wandb:
    """A run of wandb, by the settings of its environment (WANDB_MODE, WANDB_PROJECT, ...); its files are in `wandb` of
    the run's folder."""

    run: Any

    def __init__(self, folder: Path, config: Config, name: str, step: int):
        import wandb  # pyright: ignore[reportMissingImports]

        self.run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT), name=name, id=_id(folder), dir=folder,
            config=to_dict(config), resume="allow", reinit="create_new", settings=wandb.Settings(console="off"),
        )  # fmt: skip

    def log(self, step: int, scalars: dict[str, float]) -> None:
        self.run.log(scalars, step=step)

    def close(self) -> None:
        self.run.finish()


class Mlflow:
    """A run of mlflow, where its environment says (MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME)."""

    client: Any
    metric: Any
    run: str

    def __init__(self, folder: Path, config: Config, name: str, step: int):
        from mlflow import MlflowClient, entities  # pyright: ignore[reportMissingImports]

        self.client, self.metric = MlflowClient(), entities.Metric
        experiment, number = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT), _id(folder)
        known = self.client.get_experiment_by_name(experiment)
        place = known.experiment_id if known else self.client.create_experiment(experiment)
        begun = self.client.search_runs([place], f"tags.`jaxnn.id` = '{number}'")
        if begun:
            self.run = begun[0].info.run_id
            self.client.update_run(self.run, "RUNNING")
            return
        self.run = self.client.create_run(place, run_name=name, tags={"jaxnn.id": number}).info.run_id
        params = [entities.Param(key, str(value)) for key, value in flat(to_dict(config)).items()]
        for first in range(0, len(params), MOST_PARAMS):
            self.client.log_batch(self.run, params=params[first : first + MOST_PARAMS])

    def log(self, step: int, scalars: dict[str, float]) -> None:
        now = int(1000 * time.time())
        # Its file store has a file or a folder of each name: "seconds" is a folder, as there is "seconds/steps".
        named = {"seconds/elapsed" if name == "seconds" else name: value for name, value in scalars.items()}
        named = {re.sub(r"[^\w\-./ ]", "_", name): value for name, value in named.items()}  # it takes no other letters
        self.client.log_batch(self.run, [self.metric(name, value, now, step) for name, value in named.items()])

    def close(self) -> None:
        self.client.set_terminated(self.run)


def _id(folder: Path) -> str:
    """The run's, in all its processes."""
    return json.loads((folder / "log.json").read_text(encoding="utf-8"))["id"]


OPEN: dict[str, type[TensorBoard | Wandb | Mlflow]] = {"tensorboard": TensorBoard, "wandb": Wandb, "mlflow": Mlflow}
