"""`plumbline serve`: servers for trainers."""

from __future__ import annotations

from typing import Annotated

import typer

serve_app = typer.Typer(help="Servers for trainers.", no_args_is_help=True)


@serve_app.command("rewards")
def serve_rewards(
    config: Annotated[str, typer.Argument(help="A configuration file (YAML); see configs/rewards.yaml.")],
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the configuration; dots reach inside."),
    ] = None,
) -> None:
    """Answer batches of images with CME, QMA or the CLIP surrogate over HTTP, until Ctrl-C or SIGTERM."""
    from evaluation.reward_server.serving import load, serve

    serve(load(config, settings), say=lambda line: print(line, flush=True))
