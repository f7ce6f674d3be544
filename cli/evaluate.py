"""`plumbline evaluate`: its commands, and a report as tables on a terminal, plain columns elsewhere, JSON for machines.

Nothing heavy is imported here; each command imports what it needs when it runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import InputError

if TYPE_CHECKING:
    from evaluation.tables import Report

evaluate_app = typer.Typer(help="Benchmarks and agreement with people, from records of scores.", no_args_is_help=True)

Scores = Annotated[
    list[str], typer.Option("--scores", metavar="FILE", help="Records of scores; may be given several times.")
]
ScoresOrNew = Annotated[
    list[str],
    typer.Option("--scores", metavar="FILE", help="Records of scores, several too; with --judge one, to be written."),
]
Language = Annotated[str, typer.Option(help="The instruction_language to count: en, cn, zh, ... or all.")]
Json = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write the result as JSON; `-` for stdout.")]
Resamples = Annotated[int, typer.Option(min=10, max=100_000, help="Of the bootstrap, for the 95 % intervals.")]
Seed = Annotated[int, typer.Option(min=0, help="Of the bootstrap.")]
JudgeBy = Annotated[
    str | None, typer.Option("--judge", metavar="CONFIG", help="Have a model judge first; a YAML file names it.")
]
Bench = Annotated[
    str | None, typer.Option(metavar="FILE", help="With --judge: the benchmark's records, or the folder of them.")
]
ImageRoot = Annotated[
    str | None, typer.Option(metavar="DIR", help="With --judge: what the records' image paths are relative to.")
]
Outputs = Annotated[
    str | None, typer.Option(metavar="DIR", help="With --judge: the images to judge, as TASK_TYPE/KEY.png below it.")
]


@evaluate_app.command("firm-bench")
def evaluate_firm_bench(
    gt: Annotated[str, typer.Option(metavar="FILE", help="People's scores (human_bench_v1.jsonl).")],
    pred: Annotated[
        str, typer.Option(metavar="FILE", help="The critic's scores, in the same form; with --judge they go there.")
    ],
    judge: JudgeBy = None,
    bench: Bench = None,
    image_root: ImageRoot = None,
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """A critic's MAE per dimension, pooled, easy and hard, per human score, beside the best constant answer."""
    from cli.judging import judge_firm_bench, no_judge
    from evaluation.firm_bench import firm_bench

    if judge is None:
        no_judge(bench=bench, image_root=image_root)
        run(lambda: firm_bench(gt, pred, resamples, seed), json)
        return
    judged = judge_firm_bench(judge, gt, pred, bench, image_root)
    run(lambda: judged.beside(firm_bench(gt, pred, resamples, seed)), json)


@evaluate_app.command("omnicontext")
def evaluate_omnicontext(
    scores: ScoresOrNew,
    language: Language = "en",
    judge: JudgeBy = None,
    bench: Bench = None,
    outputs: Outputs = None,
    image_root: ImageRoot = None,
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """PF, SC and Overall per task type and their average; FILE may be a folder of TASK_TYPE/score.jsonl."""
    from cli.judging import judge_outputs, no_judge
    from evaluation.omnicontext import omnicontext

    if judge is None:
        no_judge(bench=bench, outputs=outputs, image_root=image_root)
        run(lambda: omnicontext(scores, language, resamples, seed), json)
        return
    from evaluation.omnicontext_judge import OMNICONTEXT

    judged = judge_outputs(OMNICONTEXT, judge, scores, bench, outputs, image_root, language)
    run(lambda: judged.beside(omnicontext(scores, language, resamples, seed)), json)


@evaluate_app.command("dreamomni2")
def evaluate_dreamomni2(
    scores: ScoresOrNew,
    language: Language = "all",
    judge: JudgeBy = None,
    bench: Bench = None,
    outputs: Outputs = None,
    image_root: ImageRoot = None,
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """PF, SC and Overall for add, replace, global, local and generation; records as OmniContext's."""
    from cli.judging import judge_outputs, no_judge
    from evaluation.omnicontext import dreamomni2

    if judge is None:
        no_judge(bench=bench, outputs=outputs, image_root=image_root)
        run(lambda: dreamomni2(scores, language, resamples, seed), json)
        return
    from evaluation.omnicontext_judge import DREAMOMNI2

    judged = judge_outputs(DREAMOMNI2, judge, scores, bench, outputs, image_root, language)
    run(lambda: judged.beside(dreamomni2(scores, language, resamples, seed)), json)


@evaluate_app.command("gedit")
def evaluate_gedit(
    scores: ScoresOrNew,
    language: Language = "en",
    judge: JudgeBy = None,
    bench: Bench = None,
    outputs: Outputs = None,
    image_root: ImageRoot = None,
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """G_SC, G_PQ and G_O of GEdit-Bench per group, over all samples and over the intersection."""
    from cli.judging import judge_outputs, no_judge
    from evaluation.edits import gedit

    if judge is None:
        no_judge(bench=bench, outputs=outputs, image_root=image_root)
        run(lambda: gedit(scores, language, resamples, seed), json)
        return
    from evaluation.gedit_judge import GEDIT

    judged = judge_outputs(GEDIT, judge, scores, bench, outputs, image_root, language)
    run(lambda: judged.beside(gedit(scores, language, resamples, seed)), json)


@evaluate_app.command("imgedit")
def evaluate_imgedit(
    answers: Annotated[str, typer.Option(metavar="FILE", help="The judge's answers: JSON, text by key.")],
    edits: Annotated[str, typer.Option(metavar="FILE", help="The benchmark's edits: JSON, {edit_type, ...} by key.")],
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """ImgEdit-Bench: the mean of each answer's scores, per edit type and over all."""
    from evaluation.edits import imgedit

    run(lambda: imgedit(answers, edits, resamples, seed), json)


@evaluate_app.command("geneval")
def evaluate_geneval(scores: Scores, json: Json = None, resamples: Resamples = 1000, seed: Seed = 0) -> None:
    """GenEval: correct images per tag, their mean, and correct prompts."""
    from evaluation.t2i import geneval

    run(lambda: geneval(scores, resamples, seed), json)


@evaluate_app.command("dpg")
def evaluate_dpg(scores: Scores, json: Json = None, resamples: Resamples = 1000, seed: Seed = 0) -> None:
    """DPG-Bench's score, from the results file of its script."""
    from evaluation.t2i import dpg

    run(lambda: dpg(scores, resamples, seed), json)


@evaluate_app.command("unigenbench")
def evaluate_unigenbench(scores: Scores, json: Json = None, resamples: Resamples = 1000, seed: Seed = 0) -> None:
    """UniGenBench: test points met per dimension and aspect."""
    from evaluation.t2i import unigenbench

    run(lambda: unigenbench(scores, resamples, seed), json)


@evaluate_app.command("dsg")
def evaluate_dsg(
    answers: Annotated[str, typer.Option(metavar="FILE", help="Answers to DSG's questions (CSV).")],
    likert: Annotated[str | None, typer.Option(metavar="FILE", help="People's scores, 1 to 5 (CSV).")] = None,
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """DSG: questions answered yes, with and without dependencies, and their correlation with people."""
    from evaluation.dsg import dsg

    run(lambda: dsg(answers, likert, resamples, seed), json)


@evaluate_app.command("viescore")
def evaluate_viescore(
    scores: Annotated[str, typer.Option(metavar="DIR", help="A folder of MODEL/SC.json and MODEL/PQ.json.")],
    raters: Annotated[
        list[str] | None, typer.Option("--rater", metavar="FILE", help="ImagenHub's table of a rater; several.")
    ] = None,
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """VIEScore: SC, PQ and O per model, and their correlation with people."""
    from evaluation.viescore import viescore

    run(lambda: viescore(scores, raters or [], resamples, seed), json)


@evaluate_app.command("imagenhub")
def evaluate_imagenhub(
    raters: Annotated[list[str], typer.Option("--rater", metavar="FILE", help="The table of a rater; several.")],
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """ImagenHub's human scores: SC, PQ and overall per model, and the raters' agreement."""
    from evaluation.imagenhub import imagenhub

    run(lambda: imagenhub(raters, resamples, seed), json)


@evaluate_app.command("clip-out")
def evaluate_clip_out(
    scores: Annotated[str, typer.Option(metavar="FILE", help="Records: id, image, caption; optionally group.")],
    weights: Annotated[str, typer.Option(help="As for the CLIP filter: NAME/PRETRAINED, local-dir:PATH or toy.")],
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or mps.")] = "auto",
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """CLIP_out: 100 times the cosine of generated images and their ground-truth captions."""
    from evaluation.clip_out import clip_out

    run(lambda: clip_out(scores, weights, device, resamples, seed), json)


@evaluate_app.command("agreement")
def evaluate_agreement(
    ratings: Annotated[list[str], typer.Option("--ratings", metavar="FILE", help="People's scores; several files.")],
    pred: Annotated[str | None, typer.Option(metavar="FILE", help="The judge's scores.")] = None,
    id: Annotated[str, typer.Option(metavar="KEY", help="The id's column in both; several joined by commas.")] = "id",
    rater: Annotated[str, typer.Option(metavar="KEY", help="The rater's column in the ratings.")] = "rater",
    score: Annotated[str, typer.Option(metavar="KEY", help="The score's column in the ratings.")] = "score",
    pred_score: Annotated[str, typer.Option(metavar="KEY", help="The score's column in --pred.")] = "score",
    level: Annotated[str, typer.Option(help="Of Krippendorff's alpha: nominal, ordinal or interval.")] = "ordinal",
    json: Json = None,
    resamples: Resamples = 1000,
    seed: Seed = 0,
) -> None:
    """People's agreement (Krippendorff), and a judge's with them: Spearman, Kendall, MAE raw and calibrated."""
    from evaluation.agreement import Keys, agreement

    keys, pred_keys = Keys(id, rater, score), Keys(id, rater, pred_score)
    run(lambda: agreement(ratings, pred, keys, pred_keys, level, resamples, seed), json)


def run(evaluate: Callable[[], Report], json: str | None) -> None:
    """Evaluate and say the result; `json` names a file for it, or `-` for stdout, where it then stands alone."""
    report = evaluate()
    if json == "-":
        sys.stdout.buffer.write(_json(report))
        return
    if json is not None:
        _write(json, _json(report))
    show_report(report)


def show_report(report: Report) -> None:
    """Counts, tables, notes."""
    from cli.diff import show

    shown = [(name, f"{count:,}") for name, count in report.counts.items() if count or not _is_failure(name)]
    print(f"{report.benchmark}: " + ", ".join(f"{count} {name}" for name, count in shown))
    for table in report.tables:
        show(table.title, list(table.texts()))
    if report.notes or report.resamples:
        print()
    for note in report.notes:
        print(f"note: {note}")
    if report.resamples:
        print(f"in brackets: 95 % bootstrap intervals, {report.resamples:,} resamples, seed {report.seed}")


def _is_failure(name: str) -> bool:
    """Counts that are said only where they are not zero."""
    return name.startswith(("scores ", "only ", "answers ", "edits without", "rated without"))


def _json(report: Report) -> bytes:
    import orjson

    return orjson.dumps(report.as_json(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def _write(path: str, data: bytes) -> None:
    from storage import paths

    try:
        paths.write_atomic(path, data)
    except OSError as error:
        raise InputError(f"--json {path}: cannot be written: {error.strerror or error}") from None
