"""The bundled reference trainer: SFT on the IC-CoT and the target, then RL; on a toy or a real backbone."""
