"""`--judge CONFIG` of `plumbline evaluate`: judge first, with a live line and Ctrl-C, then leave the records to score.

Nothing heavy is imported here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError

if TYPE_CHECKING:
    from evaluation.judged_outputs import OutputBenchmark
    from evaluation.judging import Judged, Judging

_POLL = 0.25
_ROLES = ("judge",)


def judge_firm_bench(config_path: str, gt: str, pred: str, bench: str | None, image_root: str | None) -> Judged:
    """Have FIRM-Bench judged, and write the predictions to `pred`.

    Raises:
        PlumblineError: bad input, or the models stop it.
    """
    from evaluation import firm_judge
    from evaluation.judge_config import judge_config
    from evaluation.judged_images import Workspace, some_exist
    from evaluation.judging import Judging, writable

    config = judge_config(config_path, _ROLES)
    writable(pred, "--pred", gt, bench, config_path)
    samples = firm_judge.firm_samples(gt, bench, image_root, config.seed)
    roles = firm_judge.roles_of(samples, config.way)
    judge_config(config_path, roles)
    some_exist("--image-root", [picture for sample in samples for picture in sample.images])
    with Workspace() as workspace:
        recipe = firm_judge.FirmJudge.of(config, workspace)
        judging = Judging(config, config_path, roles, recipe, samples, pred)
        return _judged(judging, pred, "--pred", firm_judge.firm_records)


def judge_outputs(
    benchmark: OutputBenchmark,
    config_path: str,
    scores: Sequence[str],
    bench: str | None,
    outputs: str | None,
    image_root: str | None,
    language: str,
) -> Judged:
    """Have the outputs of a benchmark judged, and write its records to the one file in `scores`.

    Raises:
        PlumblineError: bad input, or the models stop it.
    """
    from evaluation.judge_config import judge_config, network_only
    from evaluation.judged_images import Workspace, some_exist
    from evaluation.judging import Judging, writable

    if bench is None or outputs is None or len(scores) != 1:
        raise InputError("--judge: needs --bench (the records), --outputs (the images), and one --scores (to write)")
    config = judge_config(config_path, _ROLES)
    network_only(config, config_path, benchmark.title)
    writable(scores[0], "--scores", bench, config_path)
    with Workspace() as workspace:
        samples = benchmark.samples(bench, outputs, image_root, workspace, language, config.seed)
        some_exist("--outputs", [sample.output for sample in samples])
        judging = Judging(config, config_path, _ROLES, benchmark.recipe(config, workspace), samples, scores[0])
        return _judged(judging, scores[0], "--scores", benchmark.records)


def no_judge(**options: str | None) -> None:
    """Nothing, where none of the options is given that only a judge has a use for.

    Raises:
        InputError: one is.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(f"--{name.replace('_', '-')} {value}: is for a judge; add --judge CONFIG")


def _judged(judging: Judging[Any], path: str, option: str, records_of: Callable[[Any], Any]) -> Judged:
    """Wait for the judge, showing how far it is; then write what it said."""
    from cli.making import interrupts
    from cli.progress import Progress
    from evaluation.judging import summed, write_lines

    with judging:
        running = _Shown(judging)
        with interrupts(running), Progress(judging.planned) as line:
            while not running.wait(_POLL):
                line.show(running.progress())
        found = judging.verdicts()
        judged = summed(found, judging.usage)
    write_lines(path, option, records_of(found))
    if judged.scores == judged.failures.total():
        raise InputError(f"the judge gave no score at all: {judged.notes()[0]}")
    return judged


class _Shown:
    """A judging with the numbers of the live line."""

    def __init__(self, judging: Judging[Any]) -> None:
        self._judging = judging
        self.wait, self.interrupt = judging.wait, judging.interrupt

    def progress(self) -> dict[str, float]:
        from pipelines.numbers import Committed, numbers_of

        return numbers_of(self._judging.progress(), Committed())
