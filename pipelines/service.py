"""Running on Google Cloud Dataflow: what must be named, what is named for the user, and what no worker could reach.

Everything here is looked at before a machine is started or a call is paid.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from annotators import registry
from annotators.config import LOCAL, ROLES, ModelConfig
from annotators.network.secret_manager import FORM, PREFIX
from pipelines.config import RunConfig
from schemas.errors import InputError
from storage import paths

RUNNER = "DataflowRunner"
PORTABLE = ("PortableRunner", "FlinkRunner", "SparkRunner")
"""Those that speak to a job service (`pipelines.job_service`)."""
RUNNERS = ("FnApiRunner", RUNNER, *PORTABLE)
"""Those whose results a run relies on; docs/engines.md says which are tested, and why the others are not here."""

SETUP = Path(__file__).resolve().parent.parent / "setup.py"
PACKAGES = SETUP.parent / "deploy" / "requirements.txt"
"""What a worker needs beside the checkout's own dependencies: the extras for models and buckets."""

WORKERS = 2
MACHINE = "n1-standard-4"  # the kind that a T4 can be put into
MIN_RAM = "8GB"
GPU = "type:nvidia-tesla-t4;count:1;install-nvidia-driver"
ONE_PROCESS = "no_use_multiple_sdk_containers"
_MOST_THREADS = 16
_NEEDED = {
    "project": "the project that pays, as in --project=my-project",
    "region": "where the machines stand, as in --region=europe-west4",
    "temp_location": "a folder on a bucket for what the job stages, as in --temp_location=gs://my-bucket/tmp",
}


@dataclass(frozen=True)
class Service:
    """A run on Dataflow.

    Attributes:
        options: Beam's, with what was named for the user.
        fleet: how many processes share every limit: workers times SDK processes, of which each has one.
        template: whether the job is only described (`--template_location`), and somebody else starts it.
        same_paths: whether workers see this machine's files, as those of a job service do (`pipelines.job_service`).
    """

    options: list[str]
    fleet: int
    template: bool = False
    same_paths: bool = False


def runner_of(known: Namespace) -> str:
    """Which of `RUNNERS` Beam's options name.

    Raises:
        InputError: another one.
    """
    asked = str(known.runner)
    word = asked.rpartition(".")[2].lower().removesuffix("runner")
    for name in RUNNERS:
        if name.lower().removesuffix("runner") == word:
            return name
    raise InputError(
        f"--runner={asked}: is none that plumbline works with ({', '.join(RUNNERS)}); leave it out for FnApiRunner, "
        "and see docs/engines.md"
    )


def is_service(known: Namespace) -> bool:
    """Whether Beam's options name Dataflow."""
    return runner_of(known) == RUNNER


def service_of(given: Sequence[str], known: Namespace, config: RunConfig, workers: int, out: str) -> Service:
    """Check a run on Dataflow, and name what its options leave open.

    Args:
        given: Beam's options as they were written; `known` is what Beam reads in them.
        workers: of `--workers`, which start processes of one machine.

    Raises:
        InputError: an option is missing or contradicts another; or a path, key or model that no worker can reach.
    """
    if workers > 1:
        raise InputError(f"--workers {workers}: is for one machine; on Dataflow write -- --num_workers={workers}")
    _check_options(known)
    _check_paths(config, out, bool(known.sdk_container_image))
    _check_models(config, bool(known.sdk_container_image))
    machines = known.num_workers or known.max_num_workers or WORKERS
    fleet = max(machines, known.max_num_workers or 1)
    check_fleet(config, fleet)
    named = [*_fleet_options(known, machines, fleet, config), *_install_options(known), *_hints(known, config)]
    return Service([*given, *named], fleet, bool(known.template_location))


def _check_options(known: Namespace) -> None:
    for key, what in _NEEDED.items():
        if not getattr(known, key):
            raise InputError(f"--{key}: is missing; name {what}")
    if not known.temp_location.startswith("gs://"):
        raise InputError(f"--temp_location={known.temp_location}: is not on a bucket; name {_NEEDED['temp_location']}")
    for experiment in known.experiments or ():
        if experiment == "use_multiple_sdk_containers":
            raise InputError(
                f"--experiments={experiment}: a worker has one process here, which its limits are divided by; take it "
                "out and raise --num_workers"
            )
    if known.autoscaling_algorithm == "THROUGHPUT_BASED" and not known.max_num_workers:
        raise InputError("--autoscaling_algorithm=THROUGHPUT_BASED: limits are divided by --max_num_workers; name it")
    if known.setup_file is None and known.sdk_container_image is None and not SETUP.is_file():
        raise InputError(
            f"--setup_file: {SETUP} is not there, for plumbline does not run from a checkout; name a checkout's "
            "setup.py, or an image that has plumbline with --sdk_container_image"
        )


def _check_paths(config: RunConfig, out: str, image: bool) -> None:
    """Every address in the configuration is one that workers reach."""
    if config.ledger is None:
        raise InputError("ledger: must be on a bucket that all workers share: add --set ledger=gs://BUCKET/ledger")
    for key, path in [("--out", out), *_paths(config)]:
        if not paths.is_remote(path):
            raise InputError(
                f"{key}: {path}: lies on this machine, where no worker sees it; copy it to a bucket (gs://)"
            )
    for key, folder in _folders(config):
        if not image:
            raise InputError(
                f"{key}: {folder}: lies on this machine; build an image that has it there, and name it with "
                "--sdk_container_image"
            )


def _paths(config: RunConfig) -> Iterator[tuple[str, str]]:
    """(key, address) of what a worker opens."""
    yield "ledger", config.ledger or ""
    for key in ("pool", "pairs", "prompts_file", "tasks_file", "prices"):
        value = getattr(config, key, None)
        if value and value != "toyworld":
            yield key, value
    for name, path in config.prompts.items():
        yield f"prompts.{name}", path


def _folders(config: RunConfig) -> Iterator[tuple[str, str]]:
    """(key, folder) of weights that only an image can bring along."""
    filters = getattr(config, "filters", None)
    for name in ("clip", "aesthetic", "preference"):
        for key in ("weights", "clip"):
            value = str(getattr(getattr(filters, name, None), key, None) or "")
            if value.startswith("local-dir:"):
                yield f"filters.{name}.{key}", value
    for role, model in _models(config):
        if model.provider == "transformers":
            yield f"models.{role}.model", model.model


def _check_models(config: RunConfig, image: bool) -> None:
    for role, model in _models(config):
        source = registry.key_source(model)
        if source and not source.startswith(PREFIX) and not image:
            raise InputError(
                f"models.{role}: workers do not have this machine's {source}; write api_key_env: {FORM}, or set the "
                "variable in an image and name that with --sdk_container_image"
            )


def _models(config: RunConfig) -> Iterator[tuple[str, ModelConfig]]:
    for role in ROLES:
        for model in getattr(config.models, role):
            yield role, model


def _fleet_options(known: Namespace, machines: int, fleet: int, config: RunConfig) -> Iterator[str]:
    """How many machines, of which kind, and what goes on in each."""
    if known.num_workers is None:
        yield f"--num_workers={machines}"
    if known.autoscaling_algorithm is None:
        # Dataflow takes workers away whose CPU is below 5 %, and one that waits for answers is.
        yield "--autoscaling_algorithm=NONE"
    if known.machine_type is None:
        yield f"--machine_type={MACHINE}"
    if ONE_PROCESS not in (known.experiments or ()):
        yield f"--experiments={ONE_PROCESS}"
    if known.number_of_worker_harness_threads is None:
        yield f"--number_of_worker_harness_threads={_threads(config, fleet)}"


def _install_options(known: Namespace) -> Iterator[str]:
    """What a worker has of this program: the checkout, unless an image or another set-up is named."""
    if known.sdk_container_image is None and known.setup_file is None:
        yield f"--setup_file={SETUP}"
        if known.requirements_file is None and PACKAGES.is_file():
            # Workers fetch these themselves: staged, they would be gigabytes through this machine.
            yield from (f"--requirements_file={PACKAGES}", "--requirements_cache=skip")
    if known.save_main_session is None:
        yield "--no_save_main_session"  # nothing of ours stands in __main__


def _hints(known: Namespace, config: RunConfig) -> Iterator[str]:
    """For the whole job: a hint on one step would be a fleet of its own, and a shuffle on the way to it."""
    hinted = {hint.partition("=")[0] for hint in known.resource_hints or ()}
    if "min_ram" not in hinted:
        yield f"--resource_hints=min_ram={MIN_RAM}"
    attached = any("worker_accelerator" in option for option in known.dataflow_service_options or ())
    if on_gpu(config) and "accelerator" not in hinted and not attached:
        yield f"--resource_hints=accelerator={GPU}"


def on_gpu(config: RunConfig) -> bool:
    """Whether the configuration asks for CLIP on a GPU; `auto` takes what there is."""
    clip = getattr(getattr(config, "filters", None), "clip", None)
    return clip is not None and str(clip.device).startswith("cuda")


def check_fleet(config: RunConfig, fleet: int) -> None:
    """What no fleet of so many processes can do.

    Raises:
        InputError: names the key.
    """
    for role, model in _models(config):
        if model.mode == "batch":
            raise InputError(
                f"models.{role}.mode: batch is asked by one process before a run, and a service has none; leave it "
                "out, or run on one machine"
            )
    calls = config.budget.calls
    if calls is not None and calls < fleet:
        raise InputError(
            f"budget.calls: {calls} cannot be divided among {fleet} workers; raise it, or lower --num_workers"
        )


def _threads(config: RunConfig, fleet: int) -> int:
    """How many shards a process makes at once: what fills its calls in flight, and one that scores and writes."""
    calls = sum(max(1, model.in_flight // fleet) for _, model in _models(config) if model.provider not in LOCAL)
    under_way = max(1000, 8 * calls)
    return min(_MOST_THREADS, -(-under_way // config.output.shard_samples) + 1)
