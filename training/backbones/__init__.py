"""What is trained, each behind the interface of `training.backbone`: the toy, Qwen-Image-Edit, Stable Diffusion 3.5."""
