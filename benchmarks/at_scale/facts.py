"""Every number that the tables of docs/scale.md do not compute: prices, limits, measurements, assumptions.

A fact has its source and the day on which that was read; an assumption says that it is one. Prices of models are not
here: they are those of configs/prices.yaml, which dates each.
"""

from __future__ import annotations

from dataclasses import dataclass

PRICE, LIMIT, MEASURED, ASSUMED, COUNTED = "price", "limit", "measured", "assumed", "counted"
DAY = "2026-11-21"
_GCS = "cloud.google.com/storage/pricing, region us-central1, as transcribed by api-evangelist on 2026-09-20"
_S3 = "aws.amazon.com/s3/pricing, us-east-1, as two public guides quote it"


@dataclass(frozen=True)
class Fact:
    """A number, what kind of knowledge it is, and where it is from."""

    value: float
    unit: str
    what: str
    kind: str
    source: str
    date: str = DAY


GCS_STORAGE = Fact(0.020, "$/GiB month", "GCS Standard, stored", PRICE, _GCS)
GCS_WRITES = Fact(5.0, "$/million", "GCS class A: writes and lists", PRICE, _GCS)
GCS_READS = Fact(0.4, "$/million", "GCS class B: reads", PRICE, _GCS)
GCS_EGRESS = Fact(0.12, "$/GiB", "GCS to the internet, first 10 TiB of a month; less beyond", PRICE, _GCS)
S3_STORAGE = Fact(0.023, "$/GB month", "S3 Standard, stored, first 50 TB", PRICE, _S3)
S3_WRITES = Fact(5.0, "$/million", "S3 PUT and LIST", PRICE, _S3)
S3_READS = Fact(0.4, "$/million", "S3 GET", PRICE, _S3)
S3_EGRESS = Fact(0.09, "$/GB", "S3 to the internet, first 10 TB of a month; less beyond", PRICE, _S3)

GCS_WRITE_RATE = Fact(
    1000, "/s", "object writes and deletes a new GCS bucket takes at first; it then grows, doubling in 20 minutes",
    LIMIT, "docs.cloud.google.com/storage/docs/request-rate",
)  # fmt: skip
GCS_READ_RATE = Fact(
    5000, "/s", "object reads and lists, likewise", LIMIT, "docs.cloud.google.com/storage/docs/request-rate"
)
S3_WRITE_RATE = Fact(
    3500, "/s", "S3 PUT and DELETE for each partitioned prefix", LIMIT,
    "docs.aws.amazon.com/AmazonS3/latest/userguide/optimizing-performance.html",
)  # fmt: skip
LIST_PAGE = Fact(1000, "objects", "one list request gives at most", LIMIT, "both stores' API references")

CALL_CPU = Fact(
    1.16, "ms", "CPU of a call at 64 in flight: pipeline, schema, ledger", MEASURED,
    "benchmarks/RESULTS.md, `Annotate: calls per second`",
)  # fmt: skip
CALLS_PER_PROCESS = Fact(
    1220, "calls/s", "the most that one process was seen to make", MEASURED,
    "benchmarks/RESULTS.md, `Annotate: calls per second`, 256 in flight",
)  # fmt: skip
PREPARING = Fact(
    4.09, "ms", "CPU to make a 768-pixel JPEG ready for CLIP", MEASURED,
    "benchmarks/RESULTS.md, `CLIP: preparing images`",
)  # fmt: skip
CLIP_CPU = Fact(
    7.7, "images/s", "ViT-B-32 on one CPU core (15.4 on two)", MEASURED,
    "benchmarks/RESULTS.md, `CLIP: images to embeddings`",
)  # fmt: skip
WRITING = Fact(0.42, "ms", "CPU to write a sample into a shard", MEASURED, "benchmarks/RESULTS.md, `Shard writing`")
PLANS = Fact(
    25_167, "plans/s", "planning over a pool of a million images", MEASURED, "benchmarks/RESULTS.md, `Planning`"
)
PHOTO = Fact(
    101_000, "bytes", "a reference: a photo of 687 pixels on its longer side", MEASURED,
    "benchmarks/RESULTS.md, `Shard reading, decoded at 224 px`",
)  # fmt: skip
TARGET = Fact(
    277_000, "bytes", "a target: 1,024 pixels, JPEG of quality 95, 4:4:4", MEASURED,
    "the same: 479 kB a sample less two references",
)  # fmt: skip
GCS_LEDGER = Fact(
    450, "answers/s", "one process into a ledger on GCS, at 20 ms latency", MEASURED, "docs/ledger.md (emulator)"
)
S3_LEDGER = Fact(
    200, "answers/s", "one process into a ledger on S3, at 20 ms latency", MEASURED, "docs/ledger.md (moto)"
)
MANIFEST_ENTRY = Fact(150, "bytes", "a file's line in manifest.json", MEASURED, "a manifest of 24 files")

CANDIDATES = Fact(
    512_000, "plans", "behind 410,000 samples: about a fifth is removed", COUNTED, "Re-Align, as told in its articles"
)
EDIT_ROWS = Fact(370_276, "rows", "190,174 of Execution and 180,102 of Consistency", COUNTED, "FIRM, Table 6")
EDIT_PAIRS = Fact(
    140_000, "pairs", "with 0.4 rewrites a pair and two rows an instruction: 5.5 % of the rows may fail", ASSUMED,
    "configs/firm-edit-370k.yaml",
)  # fmt: skip
GEN_ROWS = Fact(292_792, "rows", "one per judged image", COUNTED, "FIRM, Table 6")
GEN_PROMPTS = Fact(
    150_000, "prompts", "with two images each: 2.4 % of the rows may fail", ASSUMED, "configs/firm-gen-293k.yaml"
)
HUNDRED_MILLION = Fact(
    100_000_000,
    "samples",
    "kept, of a run that keeps as Re-Align does",
    ASSUMED,
    "a round number, 244 times Re-Align-410K",
)
KEPT = Fact(0.8, "", "share of Re-Align's plans that are kept", COUNTED, "Re-Align, as told in its articles")

IMAGE_SIDES = Fact(1024, "x 768 pixels", "every image that is shown to a model", ASSUMED, "drawn for this page")
PROMPT_WORDS = Fact(20, "words", "a prompt of FIRM-Gen", ASSUMED, "drawn for this page")
PAINTED = Fact(
    1_500_000, "bytes", "an image as a provider sends it (PNG, 1,024 pixels)", ASSUMED, "no endpoint was asked"
)
TEXT_ANSWER = Fact(1_200, "bytes", "a text answer in a ledger's segment, compressed", ASSUMED, "no endpoint was asked")
SAMPLE_JSON = Fact(
    5_000,
    "bytes",
    "a sample's JSON with four reasonings, and its row in the index",
    ASSUMED,
    "toy runs: 2.7 kB with two",
)
BUSY = Fact(0.7, "", "share of a core that is planned with", ASSUMED, "so that tails and compaction find room")
CORES = Fact(16, "cores", "of a worker machine", ASSUMED, "a common size")
PER_PROCESS = Fact(
    512, "calls", "in flight in one process; 256 is the most that was measured", ASSUMED,
    "benchmarks/RESULTS.md, `Annotate: calls per second`",
)  # fmt: skip
STORE_SECONDS = Fact(0.1, "s", "a list page or a small read of a bucket", ASSUMED, "20 ms to 200 ms are common")
AT_ONCE = Fact(32, "requests", "to a store at a time", ASSUMED, "storage reads side by side")
POOL = Fact(1_000_000, "images", "a reference pool", ASSUMED, "as large as `Planning` was measured with")
SEGMENT = Fact(1 << 30, "bytes", "a compacted segment, at most", COUNTED, "docs/ledger.md")
SHARD = Fact(1000, "plans", "a shard", COUNTED, "the shipped configurations")
