"""A run on Dataflow, as far as it can be looked at without Google: what is refused, and the job that would be started.

No job was ever run. The job is described against the emulator of GCS, with Beam's own runner.
"""

from __future__ import annotations

import base64
import bz2
import io
import json
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zlib
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from deploy import launcher
from pipelines.config import load
from pipelines.local import checked_options
from pipelines.remote import _reachable
from pipelines.service import Service, is_service, service_of
from schemas.errors import InputError
from storage import paths
from tests.pipelines.conftest import ROOT
from tests.servers.buckets import Proxy
from tests.servers.dataflow import Job, described, options_of, without_credentials

pytestmark = pytest.mark.cloud

TOY = str(ROOT / "configs" / "toy.yaml")
OUT, LEDGER = "gs://my-bucket/out", "ledger=gs://my-bucket/ledger"
NEEDED = ("--runner=DataflowRunner", "--project=my-project-1", "--region=europe-west4", "--temp_location=gs://b/tmp")
IMAGE = "europe-docker.pkg.dev/my-project-1/images/plumbline:1"
SECRET = "secret:projects/my-project-1/secrets/gemini"
KEY = "key-that-must-not-leave-this-machine"


def service(
    *more: str,
    settings: tuple[str, ...] = (LEDGER,),
    out: str = OUT,
    options: tuple[str, ...] = NEEDED,
    workers: int = 1,
) -> Service:
    given, known = checked_options([*options, *more])
    assert is_service(known)
    return service_of(given, known, load(TOY, list(settings)), workers, out)


def gemini(key: str = SECRET, **more: Any) -> str:
    tree = {"provider": "gemini", "model": "gemini-2.5-flash", "api_key_env": key, **more}
    return f"models.writer={json.dumps({k: v for k, v in tree.items() if v})}"


def test_a_complete_command_is_taken_and_what_it_leaves_open_is_named() -> None:
    found = service()
    assert found.fleet == 2 and not found.template
    assert {*NEEDED, "--num_workers=2", "--autoscaling_algorithm=NONE", "--machine_type=n1-standard-4"} <= set(
        found.options
    )
    assert f"--setup_file={ROOT / 'setup.py'}" in found.options and "--no_save_main_session" in found.options
    assert f"--requirements_file={ROOT / 'deploy' / 'requirements.txt'}" in found.options
    assert not any("accelerator" in option for option in found.options), "the toy's CLIP asks for no GPU"


def test_what_the_user_names_is_not_named_again() -> None:
    found = service(
        *("--num_workers=3", "--max_num_workers=5", "--autoscaling_algorithm=THROUGHPUT_BASED", "--job_name=mine"),
        *(
            "--machine_type=g2-standard-8",
            "--resource_hints=accelerator=type:nvidia-l4;count:1",
            "--template_location=x",
        ),
        f"--sdk_container_image={IMAGE}",
        settings=(LEDGER, "filters.clip.device=cuda"),
    )
    assert found.fleet == 5, "limits hold when all of them are there"
    assert found.template
    for name in ("--num_workers", "--autoscaling_algorithm", "--machine_type", "--setup_file", "--requirements_file"):
        assert sum(option.startswith(name) for option in found.options) <= 1, name
    assert sum("accelerator" in option for option in found.options) == 1
    assert not any(option.startswith("--setup_file") for option in found.options), "the image has the program"


@pytest.mark.parametrize(
    ("more", "line"),
    [
        ({"options": NEEDED[:1]}, "--project: is missing; name the project that pays"),
        ({"options": NEEDED[:2]}, "--region: is missing"),
        ({"options": NEEDED[:3]}, "--temp_location: is missing; name a folder on a bucket"),
        ({"options": (*NEEDED[:3], "--temp_location=/tmp")}, "--temp_location=/tmp: is not on a bucket"),
        ({"out": "out"}, "--out: out: lies on this machine, where no worker sees it; copy it to a bucket"),
        ({"settings": ()}, "ledger: must be on a bucket that all workers share: add --set ledger=gs://"),
        ({"settings": ("ledger=/data/ledger",)}, "ledger: /data/ledger: lies on this machine"),
        ({"settings": (LEDGER, "pool=pool.parquet")}, "pool: pool.parquet: lies on this machine"),
        ({"settings": (LEDGER, "prompts.writer=my.j2")}, "prompts.writer: my.j2: lies on this machine"),
        ({"settings": (LEDGER, "prices=my.yaml")}, "prices: my.yaml: lies on this machine"),
        ({"settings": (LEDGER, "tasks_file=my.yaml")}, "tasks_file: my.yaml: lies on this machine"),
        (
            {"settings": (LEDGER, "filters.clip.weights='local-dir:/w'")},
            "filters.clip.weights: local-dir:/w: lies on this machine; build an image that has it there",
        ),
        (
            {"settings": (LEDGER, gemini(""))},
            "models.writer: workers do not have this machine's GEMINI_API_KEY; write api_key_env: secret:projects/",
        ),
        ({"settings": (LEDGER, gemini("MY_KEY"))}, "models.writer: workers do not have this machine's MY_KEY"),
        ({"settings": (LEDGER, gemini(mode="batch"))}, "models.writer.mode: batch is asked by one process"),
        ({"settings": (LEDGER, "budget.calls=1")}, "budget.calls: 1 cannot be divided among 2 workers; raise it"),
        ({"workers": 4}, "--workers 4: is for one machine; on Dataflow write -- --num_workers=4"),
        ({"more": ("--experiments=use_multiple_sdk_containers",)}, "a worker has one process here"),
        ({"more": ("--autoscaling_algorithm=THROUGHPUT_BASED",)}, "limits are divided by --max_num_workers; name it"),
    ],
)  # fmt: skip
def test_what_cannot_work_is_one_line_before_anything_is_paid(more: dict[str, Any], line: str) -> None:
    with pytest.raises(InputError, match=re.escape(line)) as refused:
        service(*more.pop("more", ()), **more)
    assert "\n" not in str(refused.value)


def test_a_key_in_an_image_and_weights_in_an_image_are_taken() -> None:
    service(f"--sdk_container_image={IMAGE}", settings=(LEDGER, gemini(""), "filters.clip.weights='local-dir:/w'"))


@pytest.mark.parametrize("runner", ["DataflowRunner", "dataflow", "apache_beam.runners.DataflowRunner"])
def test_dataflow_is_known_by_its_names_and_nothing_else_is(runner: str) -> None:
    assert is_service(Namespace(runner=runner))
    assert not is_service(Namespace(runner="FnApiRunner")) and not is_service(Namespace(runner="PortableRunner"))


def test_a_worker_makes_as_many_shards_at_once_as_fill_its_calls_and_one_more() -> None:
    def threads(*settings: str, workers: int = 2) -> str:
        options = service(f"--num_workers={workers}", settings=(LEDGER, *settings)).options
        return next(o for o in options if "harness_threads" in o).rpartition("=")[2]

    assert threads("output.shard_samples=1000") == "2"
    assert threads("output.shard_samples=1000", gemini(in_flight=1000)) == "5", "8 x 500 samples under way"
    assert threads("output.shard_samples=1000", gemini(in_flight=1000), workers=4) == "3"
    assert threads("output.shard_samples=1") == "16"


@pytest.fixture(scope="module")
def bucket(gs_proxy: Proxy) -> Iterator[str]:
    """A bucket's name, and an environment with keys that no job may know."""
    keys = dict.fromkeys(("GEMINI_API_KEY", "OPENAI_API_KEY", "PRACTICE_KEY"), KEY)
    environment = {"STORAGE_EMULATOR_HOST": gs_proxy.address, "NO_GCE_CHECK": "true", **keys}
    with mock.patch.dict(os.environ, environment):
        for name in ("my-bucket", "template-bucket"):
            made = json.dumps({"name": name}).encode()
            assert gs_proxy.upstream("POST", "/storage/v1/b", made, {"Content-Type": "application/json"})[0] == 200
        yield "my-bucket"


@pytest.fixture(scope="module")
def job(bucket: str) -> Job:
    """From a checkout: a model with its key in a secret, and CLIP on a GPU."""
    settings = ["samples=400", gemini(), "models.reasoner.provider=offline", "filters.clip.device=cuda"]
    return described(bucket, "realign", TOY, settings)


def below(job: Job, name: str) -> list[str]:
    """The steps that read what a step gives, and theirs."""
    steps = {t.unique_name: t for t in job.pipeline.components.transforms.values() if not t.subtransforms}
    found, gives = list[str](), set(steps[name].outputs.values())
    while new := [n for n, t in steps.items() if n not in found and gives & set(t.inputs.values())]:
        found += new
        gives |= {output for n in new for output in steps[n].outputs.values()}
    return found


def test_a_shard_is_one_element_and_nothing_between_asking_and_writing_is_shuffled(job: Job) -> None:
    steps = {t.unique_name: t for t in job.pipeline.components.transforms.values() if not t.subtransforms}
    shuffles = [name for name, t in steps.items() if t.spec.urn == "beam:transform:group_by_key:v1"]
    assert {name.partition("/")[0] for name in shuffles} == {"Spread shards", "Count shards"}
    assert "Make shards" in below(job, next(name for name in shuffles if name.startswith("Spread")))
    after = below(job, "Make shards")
    assert after and all(name.startswith("Count shards") or name == "Close" for name in after), (
        "shards are committed in it"
    )
    environments = {t.environment_id for t in steps.values() if t.environment_id}
    assert len(environments) == 1, "another environment would be another fleet, and a shuffle on the way to it"


def test_the_job_asks_for_a_fixed_fleet_of_one_process_each_with_a_gpu(job: Job) -> None:
    environment = job.tree["environment"]
    (pool,) = environment["workerPools"]
    assert pool["numWorkers"] == 2 and pool["machineType"] == "n1-standard-4"
    assert pool["autoscalingSettings"]["algorithm"] == "AUTOSCALING_ALGORITHM_NONE"
    assert pool["numThreadsPerWorker"] == 11, "1,000 samples of 100 a shard, and one more"
    assert {"no_use_multiple_sdk_containers", "use_runner_v2"} <= set(environment["experiments"])
    (image,) = pool["sdkHarnessContainerImages"]
    assert "beam_python3" in image["containerImage"]
    (hints,) = (e.resource_hints for e in job.pipeline.components.environments.values())
    assert hints["beam:resources:min_ram_bytes:v1"] == b"8000000000"
    assert hints["beam:resources:accelerator:v1"] == b"type:nvidia-tesla-t4;count:1;install-nvidia-driver"
    assert job.tree["name"].startswith("plumbline-realign-") and job.tree["type"] == "JOB_TYPE_BATCH"


def test_the_checkout_travels_and_main_does_not(job: Job) -> None:
    assert {"workflow.tar.gz", "requirements.txt"} <= set(job.staged) and "pickled_main_session" not in job.staged
    with tarfile.open(fileobj=io.BytesIO(job.staged["workflow.tar.gz"])) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert {"pipelines/whole_shards.py", "prompts/realign/writer.j2", "pools/tasks.yaml", "setup.py"} <= names
    assert job.staged["requirements.txt"] == (ROOT / "deploy" / "requirements.txt").read_bytes()


WORKER = """
import json, sys
from pipelines import config, datasets, fleet, whole_shards
from pipelines.spec import RunSpec
from filters.clip_model import ClipModel
from pools.tasks import load_tasks
from prompts.catalogue import Catalogue
from annotators.config import ModelConfig
from annotators.prices import PriceList

toy = config.load(sys.argv[1])
steps = [type(step).__name__ for step in datasets.steps_of(RunSpec(toy, "out", "", "hash"))]
prompts = {family: len(Catalogue({}, family).hashes()) for family in ("realign", "firm")}
clip = ClipModel.load("toy", "cpu").digest
assert PriceList().price(ModelConfig(provider="gemini", model="gemini-2.5-pro"))
print(json.dumps([whole_shards.__file__, steps, prompts, sorted(load_tasks()), len(clip)]))
"""


def test_a_bare_environment_runs_a_worker_from_what_is_staged(job: Job, tmp_path: Path) -> None:
    sdist, venv = tmp_path / "plumbline-0.tar.gz", tmp_path / "venv"
    sdist.write_bytes(job.staged["workflow.tar.gz"])
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", venv], check=True)
    # The other packages are this environment's; its own editable install of the checkout is not seen so.
    (site,) = venv.glob("lib/python3*/site-packages")
    (site / "others.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    python = venv / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "-q", "--disable-pip-version-check", "--python", str(python), "install"]
    subprocess.run([*pip, "--no-deps", "--no-index", "--no-build-isolation", sdist], check=True, cwd=tmp_path)
    told = subprocess.run(
        [python, "-I", "-c", WORKER, site / "configs" / "toy.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    where, steps, prompts, tasks, digest = json.loads(told.stdout.splitlines()[-1])
    assert Path(where).is_relative_to(site), "not the checkout's"
    assert steps == ["Annotate", "Score"] and min(prompts.values()) > 0 and "add" in tasks and digest


def unpacked(data: bytes) -> Iterator[bytes]:
    """The bytes, and whatever is packed inside: pickled functions travel compressed in base64."""
    yield data
    for run in re.findall(rb"[A-Za-z0-9+/]{60,}={0,2}", data):
        for unpack in (bz2.decompress, zlib.decompress):
            try:
                yield unpack(base64.b64decode(run + b"=" * (-len(run) % 4)))
            except (OSError, ValueError, zlib.error, EOFError):
                continue


def test_no_key_is_in_the_job_its_graph_its_options_or_what_is_staged(job: Job) -> None:
    whole = [json.dumps(job.tree).encode(), job.pipeline.SerializeToString(), *job.staged.values()]
    payloads = [t.spec.payload for t in job.pipeline.components.transforms.values()]
    seen = [text for data in (*whole, *payloads) for text in unpacked(data)]
    assert any(SECRET.encode() in text for text in seen), "the search finds what does travel: the secret's name"
    assert not any(KEY.encode() in text for text in seen)
    assert "GEMINI_API_KEY" not in json.dumps(job.options)


def test_the_flex_template_describes_the_same_job_in_an_image(bucket: str) -> None:
    paths.write_atomic("gs://template-bucket/run.yaml", Path(TOY).read_bytes())
    own = ["--config=gs://template-bucket/run.yaml", "--out=gs://template-bucket/out", "--slice=1/2"]
    own += ["--settings=ledger=gs://template-bucket/ledger; samples=300; filters={similarity: {}}"]
    with without_credentials():
        launcher.run([*own, *options_of("template-bucket", f"--sdk_container_image={IMAGE}", "--num_workers=3")])
    tree = json.loads(paths.read_bytes("gs://template-bucket/job.json"))
    (pool,) = tree["environment"]["workerPools"]
    assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == [IMAGE]
    assert pool["numWorkers"] == 3 and tree["name"].endswith("-1-of-2")
    assert "workflow.tar.gz" not in [package["name"] for package in pool.get("packages", [])]
    assert paths.exists("gs://template-bucket/out/run.json"), "what shapes the bytes is settled by the launcher"


def test_every_parameter_of_the_template_is_an_option() -> None:
    told = json.loads((ROOT / "deploy" / "metadata.json").read_text())["parameters"]
    own = {action.dest: action for action in launcher.parser()._actions if action.dest != "help"}
    assert set(own) <= {p["name"] for p in told}, "and the launcher has no other"
    for parameter in told:
        name = parameter["name"]
        if name in own:
            assert parameter["isOptional"] is not own[name].required
        else:
            _, known = checked_options([f"--{name}=1"])
            assert hasattr(known, name), f"{name}: neither the launcher's nor Beam's"
        for regex in parameter.get("regexes", []):
            re.compile(regex)
    patterns = {p["name"]: re.compile(p["regexes"][0]) for p in told if "regexes" in p}
    assert patterns["slice"].fullmatch("2/3") and not patterns["slice"].fullmatch("0/3")
    assert patterns["out"].fullmatch("gs://b/out") and not patterns["out"].fullmatch("/data/out")


def test_an_index_made_here_is_copied_beside_the_output_and_its_images_must_not_lie_here(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    index, out = tmp_path / "index.parquet", str(tmp_path / "out")
    pq.write_table(pa.table({"uri_0": ["gs://b/a.jpg", ""], "name_0": ["a.jpg", ""]}), index)
    moved = _reachable(str(index), out)
    assert moved.startswith(f"{out}/.input/") and Path(moved).read_bytes() == index.read_bytes()
    pq.write_table(pa.table({"uri": ["gs://b/a.jpg", "/photos/b.jpg"]}), index)
    with pytest.raises(InputError, match=r"the image /photos/b\.jpg lies on this machine, where no worker sees it"):
        _reachable(str(index), out)


def test_what_workers_install_beside_the_checkout_is_what_the_extras_say() -> None:
    project = (ROOT / "pyproject.toml").read_text()  # Python 3.10 reads no TOML
    of_extras = re.findall(r"^(?:gemini|openai|gcs) = \[(.*)\]$", project, re.M)
    wanted = {one for line in of_extras for one in re.findall(r'"([^"]+)"', line)}
    assert len(of_extras) == 3
    lines = (ROOT / "deploy" / "requirements.txt").read_text().splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}

    def name(one: str) -> str:
        return re.split(r"[<>=;]", one)[0]

    assert {name(one) for one in listed} == {name(one) for one in wanted}
    assert listed <= wanted


def test_the_image_is_made_of_what_is_there() -> None:
    text = (ROOT / "deploy" / "Dockerfile").read_text()
    arguments = dict(re.findall(r"^ARG (\w+)=(\S*)$", text, re.M))
    least = re.search(r'"apache-beam\[gcp\]>=([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert least is not None
    assert [int(n) for n in arguments["BEAM"].split(".")] >= [int(n) for n in least[1].split(".")]
    for sources in re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.M):
        assert all((ROOT / source).exists() for source in sources.split()), sources
    started = re.search(r"FLEX_TEMPLATE_PYTHON_PY_FILE=/opt/plumbline/(\S+)", text)
    assert started is not None and (ROOT / started[1]).is_file()
