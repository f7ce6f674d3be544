"""`plumbline train`: the reference trainers, fed by finished outputs.

Nothing heavy is imported here; each command imports what it needs when it runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

train_app = typer.Typer(help="Reference trainers, fed by finished outputs.", no_args_is_help=True)

Config = Annotated[str, typer.Argument(help="A configuration file (YAML); see configs/train-*.yaml.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the configuration; dots reach inside."),
]


@train_app.command("sft")
def train_sft(config: Config, settings: Settings = None) -> None:
    """Stage 1: teach a backbone to reason and to draw, from the shards of a Re-Align output."""
    from storage.configs import load
    from training.config import SFTConfig

    loaded = load(SFTConfig, config, settings or [])
    from training.sft import train

    train(loaded, say)


@train_app.command("rl")
def train_rl(config: Config, settings: Settings = None) -> None:
    """Stage 2: align what is drawn with what was reasoned, by groups of rollouts and a reward."""
    from storage.configs import load
    from training.config import RLConfig

    loaded = load(RLConfig, config, settings or [])
    from training.rl import train

    train(loaded, say)


@train_app.command("critic")
def train_critic(config: Config, settings: Settings = None) -> None:
    """Fine-tune a vision-language model on FIRM's student rows: a reward model that judges alone."""
    from training.critic_config import load

    loaded = load(config, settings or [])
    from training.critic import train

    train(loaded, say)


def say(line: str) -> None:
    """A line of progress on stdout, at once."""
    print(line, flush=True)
