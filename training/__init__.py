"""The bundled reference trainer: SFT on the IC-CoT and the target, then RL with rewards; on a toy or a real backbone."""
