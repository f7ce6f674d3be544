"""The job that a command would start on Dataflow, described without Google: against the emulator of GCS.

    python -m tests.servers.dataflow FOLDER         # `make dataflow-json`: FOLDER/job.json and FOLDER/pipeline.txt

Beam stages what the job needs and writes the job as a template, as it would for a flex template.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from storage import paths
from tests.servers.buckets import gcs_server, proxied

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Job:
    """A described job.

    Attributes:
        tree: its JSON, as the service takes it.
        pipeline: the graph that it names, a `beam_runner_api_pb2.Pipeline`.
        staged: what lies beside it for the workers, by name.
    """

    tree: dict[str, Any]
    pipeline: Any
    staged: dict[str, bytes]

    @property
    def options(self) -> dict[str, Any]:
        found: dict[str, Any] = self.tree["environment"]["sdkPipelineOptions"]["options"]
        return found


@contextmanager
def without_credentials() -> Iterator[None]:
    """Beam takes its credentials as looked for and not found; it would ask the metadata server for half a minute."""
    from apache_beam.internal.gcp import auth

    with mock.patch.object(auth._Credentials, "_credentials_init", True):
        yield


def options_of(bucket: str, *more: str) -> list[str]:
    """Beam's options for a job that is described in a bucket."""
    return [
        *("--runner=DataflowRunner", "--project=my-project-1", "--region=europe-west4"),
        *(f"--temp_location=gs://{bucket}/tmp", f"--template_location=gs://{bucket}/job.json", *more),
    ]


def described(
    bucket: str, dataset: str, config: str, settings: Sequence[str], *more: str, template: str = "job.json"
) -> Job:
    """The job of a command whose output, ledger and template lie in `bucket`, which is empty.

    Args:
        more: options of Beam.
    """
    from apache_beam.portability.api import beam_runner_api_pb2

    from cli.dataset import run

    own = [f"ledger=gs://{bucket}/ledger", *settings]
    with without_credentials():
        run(dataset, config, f"gs://{bucket}/out", own, 1, "1/1", "", options_of(bucket, *more))
    tree = json.loads(paths.read_bytes(f"gs://{bucket}/{template}"))
    options = tree["environment"]["sdkPipelineOptions"]["options"]
    pipeline = beam_runner_api_pb2.Pipeline.FromString(paths.read_bytes(options["pipelineUrl"]))
    packages = tree["environment"]["workerPools"][0].get("packages", [])
    staged = {p["name"]: paths.read_bytes("gs://" + p["location"].partition("/")[2]) for p in packages}
    return Job(tree, pipeline, staged)


def main(folder: str) -> None:
    """Describe a job of 1,000 samples with Gemini and CLIP on a GPU, and write what Dataflow would be sent."""
    with gcs_server() as port, proxied(port, generations=True) as proxy:
        environment = {"STORAGE_EMULATOR_HOST": proxy.address, "NO_GCE_CHECK": "true"}
        with mock.patch.dict(os.environ, environment):
            proxy.upstream("POST", "/storage/v1/b", b'{"name": "my-bucket"}', {"Content-Type": "application/json"})
            key = "api_key_env: 'secret:projects/my-project-1/secrets/gemini'"
            models = [
                f"models.{role}={{provider: gemini, model: gemini-2.5-flash, {key}}}" for role in ("writer", "reasoner")
            ]
            painter = f"models.painter={{provider: gemini, model: gemini-2.5-flash-image, {key}}}"
            settings = ["samples=1000", "budget.usd=50", "filters.clip.device=cuda", *models, painter]
            job = described("my-bucket", "realign", str(ROOT / "configs" / "toy.yaml"), settings)
    os.makedirs(folder, exist_ok=True)
    (Path(folder) / "job.json").write_text(json.dumps(job.tree, indent=2) + "\n")
    (Path(folder) / "pipeline.txt").write_text(str(job.pipeline))
    print(f"{folder}/job.json, {folder}/pipeline.txt; staged for the workers: {', '.join(job.staged)}")


if __name__ == "__main__":
    main(sys.argv[1])
