"""One job: train as `plumbline train` does, measure on held-out samples, write the figures of every sample as JSON.

python -m benchmarks.ablations.worker KIND CONFIG.yaml RESULT.json ASKS
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

from storage.configs import load
from training.config import RLConfig, Run, SFTConfig

Tree = dict[str, Any]


def main() -> None:
    """Do what the command line says."""
    kind, path, result, asks = sys.argv[1:]
    told: Tree = json.loads(asks)
    config: Run = load(RLConfig if kind in ("rl", "measure") else SFTConfig, path)
    if kind == "references":
        from benchmarks.ablations.references import steps_with

        found = steps_with(config, **told)
    else:
        found = trained_and_measured(kind, config, told)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cost = {"cpu_s": round(usage.ru_utime + usage.ru_stime, 1), "peak_mib": usage.ru_maxrss // 1024}
    settings = load_tree(path)
    Path(result).write_text(json.dumps({"settings": settings, "asks": told, "cost": cost, **found}))


def load_tree(path: str) -> Tree:
    """The YAML as it is."""
    import yaml

    return yaml.safe_load(Path(path).read_text())  # type: ignore[no-any-return]


def trained_and_measured(kind: str, config: Run, asks: Tree) -> Tree:
    """Train where the kind is one of training, then measure what `asks` names."""
    import torch

    from benchmarks.ablations import measuring
    from training import rl, running, sft

    torch.set_num_threads(config.threads or 1)
    if isinstance(config, SFTConfig) and kind == "sft":
        sft.train(config, say)
    elif isinstance(config, RLConfig) and kind == "rl":
        rl.train(config, say)
    backbone = measuring.finished(config) if kind in ("sft", "rl") else measuring.begun(config)
    # At least as many samples as training looks at on its way.
    config = config.model_copy(update={"eval_samples": max(config.eval_samples, measuring.SAMPLES)})
    found: Tree = {}
    if asks.get("edits"):
        found["each"] = measuring.edits(backbone, config)
    elif asks.get("generation"):
        found["each"] = measuring.generation(backbone, config)
    elif temperatures := asks.get("temperatures"):
        found["diversity"] = {
            str(one): measuring.diversity(backbone, config, one, asks["draws"], asks["prompts"]) for one in temperatures
        }
    else:
        reasons = getattr(config, "form", "structured") != "none"
        found["each"] = measuring.held_out(backbone, config, reasons=reasons)
    lines = Path(config.out) / running.METRICS
    if kind in ("sft", "rl"):
        found["metrics"] = [json.loads(line) for line in lines.read_text().splitlines()]
    return found


def say(line: str) -> None:
    """A line of the log."""
    print(line, flush=True)


if __name__ == "__main__":
    main()
