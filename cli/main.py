"""`plumbline`: every command, its options, and how an error becomes one line and an exit code.

Nothing heavy is imported here; each command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from cli.evaluate import evaluate_app
from cli.serve import serve_app
from cli.train import train_app
from schemas.errors import PlumblineError, StoppedError
from schemas.version import VERSION
from storage.temporaries import FULL

app = typer.Typer(
    name="plumbline",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
pool_app = typer.Typer(help="Reference pools.", no_args_is_help=True)
app.add_typer(pool_app, name="pool")
ledger_app = typer.Typer(help="Ledgers: what was paid, and what is kept of it.", no_args_is_help=True)
app.add_typer(ledger_app, name="ledger")
app.add_typer(evaluate_app, name="evaluate")
app.add_typer(serve_app, name="serve")
app.add_typer(train_app, name="train")

Config = Annotated[str, typer.Argument(help="A configuration file (YAML); see configs/.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the configuration; dots reach inside."),
]
Metrics = Annotated[
    str | None, typer.Option(metavar="FILE", help="Keep metrics in this file, in Prometheus' text format (*.prom).")
]
Log = Annotated[str | None, typer.Option(metavar="FILE", help="Write what happens as lines of JSON; `-` for stderr.")]
LogLevel = Annotated[
    str | None, typer.Option(metavar="LEVEL", help="Of --log: debug (every answer), info, warning or error.")
]
LedgerAt = Annotated[
    str | None, typer.Argument(metavar="LOCATION", help="A folder, s3:// or gs://; default: the user's ledger.")
]
BEAM = {"allow_extra_args": True, "ignore_unknown_options": False}


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"plumbline {VERSION}")
        raise typer.Exit


@app.callback()
def plumbline(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """Curates the data that aligns image generators: planned, annotated, filtered, and written as verified shards."""


@app.command()
def demo(
    out: Annotated[str, typer.Option(help="Where the datasets go, each in its folder.")] = "demo",
    samples: Annotated[
        int, typer.Option(min=1, help="How many samples to plan; a quarter as many pairs and prompts.")
    ] = 400,
) -> None:
    """Make all three datasets from the embedded toy world, offline, in a few minutes."""
    from cli.demo import run

    run(out, samples)


@pool_app.command("index")
def pool_index(
    source: Annotated[str, typer.Argument(help="A folder of characters/ objects/ scenes/, JSONL, Parquet or tars.")],
    out: Annotated[str, typer.Option(help="The index to write (Parquet).")],
    license: Annotated[
        list[str] | None,
        typer.Option("--license", help="Keep only references of this license; may be given several times."),
    ] = None,
    min_side: Annotated[int, typer.Option(min=1, help="Images with a shorter side are left out, in pixels.")] = 64,
) -> None:
    """Index a reference pool: sizes, digests, captions and licenses, with a reason for every image left out."""
    from cli.pool import run

    run(source, out, license, min_side)


def _makes(dataset: str, what: str) -> None:
    """Register the command that makes a dataset; all take the same options."""

    def command(
        context: typer.Context,
        config: Config,
        out: Annotated[str, typer.Option(help="The output folder; an unfinished one is resumed.")],
        settings: Settings = None,
        workers: Annotated[int, typer.Option(min=1, help="Processes, each with its share of every limit.")] = 1,
        slice: Annotated[
            str, typer.Option(metavar="I/N", help="Make only every N-th shard, from the I-th on.")
        ] = "1/1",
        metrics: Metrics = None,
        log: Log = None,
        log_level: LogLevel = None,
        worker: Annotated[str, typer.Option(hidden=True, help="Set by the parent of a worker process.")] = "",
        allowance: Annotated[str, typer.Option(hidden=True, help="Set by the parent of a worker process.")] = "",
    ) -> None:
        from cli.dataset import run
        from cli.watching import Watching

        watching = Watching(metrics, log, log_level)
        run(dataset, config, out, settings or [], workers, slice, worker, context.args, watching, allowance)

    app.command(dataset, help=f"{what} Options for Apache Beam follow after `--`.", context_settings=BEAM)(command)


_makes("realign", "Make a Re-Align dataset: references, instructions, IC-CoTs, targets.")
_makes("firm-edit", "Make FIRM-Edit data: edits judged difference-first, Execution and Consistency.")
_makes("firm-gen", "Make FIRM-Gen data: generated images judged plan-then-score.")


@app.command()
def estimate(
    config: Config,
    settings: Settings = None,
    live: Annotated[
        bool, typer.Option("--live", help="Ask the models for some samples, and pay for them; a run has them then.")
    ] = False,
    samples_live: Annotated[int, typer.Option(min=1, help="How many, with --live.")] = 20,
    from_run: Annotated[
        str | None, typer.Option("--from", metavar="OUT", help="Take what a finished run measured.")
    ] = None,
) -> None:
    """Say what a run will ask and cost, and how long it takes, with a range. Asks no model without --live."""
    from cli.estimate import run

    run(config, settings or [], samples_live if live else 0, from_run)


@app.command()
def exam(
    config: Config,
    out: Annotated[str, typer.Option(help="Where its pictures, its page and its record go.")] = "exam",
    json: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write the tables as JSON; `-` for stdout.")
    ] = None,
    settings: Settings = None,
) -> None:
    """Examine critics on drawn edits and prompts whose true scores are known."""
    from cli.exam import run

    run(config, out, json, settings or [])


@app.command()
def verify(out: Annotated[str, typer.Argument(help="A finished output folder.")]) -> None:
    """Prove that every file is what the manifest says; exit 4 and name each that is not."""
    from cli.outputs import run_verify

    run_verify(out)


@app.command()
def merge(
    folders: Annotated[list[str], typer.Argument(help="The folders that slices of one run were written to.")],
    out: Annotated[str, typer.Option(help="The folder for the whole; may be one of them.")],
) -> None:
    """Join the slices of one run, verify that nothing is missing, and write the manifest."""
    from cli.outputs import run_merge

    run_merge(folders, out)


@app.command()
def export(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A finished output folder.")],
    name: Annotated[
        str,
        typer.Option(
            "--format",
            help="bagel, omnigen2, flowfactory, llamafactory, trl, editrl, genrl or parquet; docs/export.md.",
        ),
    ],
    out: Annotated[str, typer.Option(metavar="PATH", help="The folder to write; it must not exist yet.")],
    data_dir: Annotated[
        str | None, typer.Option(metavar="PATH", help="How the trainer will name that folder, if not by its own path.")
    ] = None,
    units: Annotated[
        int, typer.Option(help="bagel: row groups come in multiples of this; the trainer's ranks x workers.")
    ] = 1,
    without_iccot: Annotated[
        float, typer.Option(help="bagel: share of visits that show a sample without its IC-CoT.")
    ] = 0.0,
    keys: Annotated[str | None, typer.Option(help="llamafactory: `swift` for ms-swift.")] = None,
) -> None:
    """Write an output as the files that a trainer reads."""
    from cli.export import run

    run(folder, name, out, data_dir, units, without_iccot, keys)


@app.command()
def diff(
    out_a: Annotated[str, typer.Argument(metavar="OUT_A", help="An output folder, finished or not.")],
    out_b: Annotated[str, typer.Argument(metavar="OUT_B", help="Another.")],
    samples: Annotated[int, typer.Option(min=0, help="How many plans that ended differently to show.")] = 10,
) -> None:
    """Compare two outputs: settings, prompts, counts, scores, and plan by plan what became of them."""
    from cli.diff import run

    run(out_a, out_b, samples)


@app.command()
def report(
    out: Annotated[str, typer.Argument(help="An output folder, finished or not.")],
    samples: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Show at most N entries, fairly chosen (5,000 by default)."),
    ] = None,
    thumb: Annotated[
        int | None, typer.Option(min=32, max=1024, metavar="PX", help="Longer side of its pictures (160, FIRM 320).")
    ] = None,
    card_only: Annotated[bool, typer.Option("--card-only", help="Write the dataset card and no gallery.")] = False,
) -> None:
    """Write report.html, one file to look at what was made, and README.md, the dataset card that loaders read."""
    from cli.report import run

    run(out, card_only, samples, thumb)


@app.command()
def select(
    out: Annotated[str, typer.Argument(metavar="DIR", help="A finished output folder.")],
    where: Annotated[
        str | None,
        typer.Option(metavar="EXPR", help="Samples that meet it, as in 'task == \"add\" and clip_text >= 0.25'."),
    ] = None,
    ids: Annotated[str | None, typer.Option(metavar="FILE", help="Of these samples only: one id to a line.")] = None,
    include_rejected: Annotated[
        bool, typer.Option("--include-rejected", help="Bring back rejected samples that meet it.")
    ] = False,
    balance: Annotated[
        list[str] | None,
        typer.Option(metavar="DIMENSION=SHAPE", help="Critic labels: `execution=uniform`; see docs/balance.md."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of --balance; by default the run's.")] = None,
    dest: Annotated[
        str | None, typer.Option("--out", metavar="DIR2", help="Write them as shards of their own.")
    ] = None,
    write_ids: Annotated[str | None, typer.Option(metavar="FILE", help="Write their ids, one to a line.")] = None,
    shard_samples: Annotated[int | None, typer.Option(min=1, help="Samples per shard; by default as in DIR.")] = None,
    ledger: Annotated[
        str | None, typer.Option(metavar="LOCATION", help="Where the images of rejected samples are, if they moved.")
    ] = None,
) -> None:
    """Choose samples by their stored scores: other thresholds, a task, a split, a balance. Asks no model."""
    from cli.select import run

    run(out, where, ids, include_rejected, balance or [], seed, dest, write_ids, shard_samples, ledger)


@app.command()
def calibrate(
    out: Annotated[str, typer.Argument(metavar="DIR", help="An output folder with scores.")],
    drop: Annotated[float, typer.Option(metavar="SHARE", help="How much the filters are to drop.")] = 0.2,
    by: Annotated[
        list[str] | None, typer.Option("--by", metavar="SCORE", help="The score to limit; several share the drop.")
    ] = None,
    per_task: Annotated[bool, typer.Option("--per-task", help="Also a limit for each task.")] = False,
    labels: Annotated[
        str | None, typer.Option(metavar="FILE", help="JSONL or CSV of id and good: the limits that agree best.")
    ] = None,
    criterion: Annotated[str, typer.Option(help="With --labels: f1 or youden.")] = "f1",
) -> None:
    """Propose limits for the filters from stored scores, as YAML to paste. Nothing is scored again."""
    from cli.calibrate import run

    run(out, drop, by or [], per_task, labels, criterion)


@app.command()
def contamination(
    out: Annotated[str, typer.Argument(metavar="DIR", help="A finished output folder.")],
    against: Annotated[
        list[str] | None,
        typer.Option("--against", metavar="DIR_OR_PROMPTS", help="A benchmark: images, prompts, or an output."),
    ] = None,
    duplicates: Annotated[
        bool, typer.Option("--near-duplicates", help="Also targets that are all but equal to an earlier one.")
    ] = False,
    distance: Annotated[
        int, typer.Option(min=-1, max=15, help="Bits in which two perceptual hashes may differ; -1 for no hashes.")
    ] = 6,
    ngram: Annotated[int, typer.Option(min=2, help="Words in a row that two texts have in common.")] = 13,
    min_words: Annotated[int, typer.Option(min=1, help="Shorter texts are not compared.")] = 5,
    clip: Annotated[
        str | None, typer.Option(metavar="WEIGHTS", help="Also compare embeddings: local-dir:PATH or NAME/PRETRAINED.")
    ] = None,
    cosine: Annotated[float, typer.Option(min=0, max=1, help="With --clip: as near as this is the same.")] = 0.95,
) -> None:
    """Find samples that a benchmark has as well, and near-duplicates; write which ids to leave out."""
    from cli.contamination import run

    run(out, against or [], duplicates, distance, ngram, min_words, clip, cosine)


@app.command()
def rejects(
    out: Annotated[str, typer.Argument(help="An output folder.")],
    retry: Annotated[bool, typer.Option("--retry", help="Reopen shards that lack an answer, to run again.")] = False,
    ledger: Annotated[str | None, typer.Option(help="With --retry: the run's ledger, if not the default one.")] = None,
    limit: Annotated[int, typer.Option(min=0, help="How many rejections to show in full.")] = 10,
) -> None:
    """Count what was rejected, by stage and reason, and show examples."""
    from cli.outputs import run_rejects

    run_rejects(out, retry, ledger, limit)


@ledger_app.command("stats")
def ledger_stats(location: LedgerAt = None) -> None:
    """Answers, images, refusals and bytes; by model and by role, what they cost."""
    from cli.ledger import run_stats

    run_stats(location)


@ledger_app.command("prune")
def ledger_prune(
    location: LedgerAt = None,
    older_than: Annotated[
        str | None, typer.Option(metavar="SPAN", help="Answers paid longer ago than this: 12h, 30d, 2w.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="Answers of this model.")] = None,
    refusals: Annotated[bool, typer.Option("--refusals", help="Refusals and unusable answers only.")] = False,
    blobs: Annotated[bool, typer.Option("--blobs", help="Also images that no answer names.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Without a filter: remove every answer.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be removed, and remove nothing.")] = False,
) -> None:
    """Remove answers that meet every filter given; they are asked, and paid, again when needed."""
    from cli.ledger import run_prune

    run_prune(location, older_than, model, refusals, blobs, yes, dry_run)


@ledger_app.command("export")
def ledger_export(
    out: Annotated[str, typer.Option(metavar="FILE", help="The file to write: .jsonl or .parquet.")],
    location: LedgerAt = None,
    images: Annotated[str | None, typer.Option(metavar="DIR", help="Copy the images here, too.")] = None,
) -> None:
    """Write every answer as one row."""
    from cli.ledger import run_export

    run_export(location, out, images)


def main() -> None:
    """Run the command line; an error meant for the user is one line on stderr and its own exit code."""
    try:
        app()
    except PlumblineError as error:
        sys.stdout.flush()
        print(f"plumbline: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        # Whoever read our output has gone. Nothing more can be said, not even by Python on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in FULL:
            raise
        sys.stdout.flush()
        where = f"{error.filename}: " if error.filename else ""
        print(f"plumbline: {where}{error.strerror}; make room and run the same command again", file=sys.stderr)
        sys.exit(StoppedError.exit_code)
    except KeyboardInterrupt:
        print("plumbline: interrupted; the same command resumes", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
