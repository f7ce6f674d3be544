"""A stand-in for BAGEL's base classes, written from what is known of their behaviour, for tests only.

What it keeps of them: the terms of a sequence plan; files are listed by `os.listdir` and skipped where their exact path
is no key of parquet_info; the unit of work is a row group; units are divided over ranks and then workers and the
remainder is dropped; a row group is read whole into pandas; a row that fails is skipped with a message; it never ends.
"""

from __future__ import annotations

import os
import random

import pyarrow.parquet as pq
import torch


class InterleavedBaseIterableDataset(torch.utils.data.IterableDataset):
    def _init_data(self):
        return {"sequence_plan": [], "text_ids_list": [], "image_tensor_list": [], "num_tokens": 0}

    def _add_text(self, data, text, need_loss, enable_cfg=True):
        ids = self.tokenizer.encode(text)
        data["num_tokens"] += len(ids)
        data["text_ids_list"].append(ids)
        data["sequence_plan"].append(self._item("text", need_loss, enable_cfg))
        return data

    def _add_image(self, data, image, need_loss, need_vae, need_vit, enable_cfg=True):
        assert need_loss or need_vae or need_vit
        wanted = [("vae_image", 1, 0, self.transform)] if need_loss else []
        wanted += [("vae_image", 0, enable_cfg, self.transform)] if need_vae else []
        wanted += [("vit_image", 0, enable_cfg, self.vit_transform)] if need_vit else []
        for kind, loss, cfg, transform in wanted:
            tensor = transform(image)
            data["sequence_plan"].append(self._item(kind, loss, cfg))
            data["num_tokens"] += tensor.shape[1] * tensor.shape[2] // transform.stride**2
            data["image_tensor_list"].append(tensor)
        return data

    def _item(self, kind, loss, cfg):
        special = {"special_token_loss": 0, "special_token_label": None}
        return {"type": kind, "enable_cfg": int(cfg), "loss": int(loss), **special}


class ParquetStandardIterableDataset(torch.utils.data.IterableDataset):
    def __init__(
        self, dataset_name, transform, tokenizer, vit_transform, data_dir_list, num_used_data, parquet_info,
        local_rank=0, world_size=1, num_workers=8, data_status=None,
    ):  # fmt: skip
        self.dataset_name, self.tokenizer = dataset_name, tokenizer
        self.transform, self.vit_transform = transform, vit_transform
        units = []
        for folder, used in zip(data_dir_list, num_used_data, strict=True):
            files = [os.path.join(folder, name) for name in os.listdir(folder) if name.endswith(".parquet")]
            files = (files * (used // len(files) + 1))[:used]
            known = [file for file in files if file in parquet_info]
            units += [(file, group) for file in known for group in range(parquet_info[file]["num_row_groups"])]
        units.sort()
        random.Random(42).shuffle(units)
        each = len(units) // world_size
        self.data_paths_per_rank = units[local_rank * each : (local_rank + 1) * each]

    def __iter__(self):
        while True:
            for file, group in self.data_paths_per_rank:
                rows = pq.ParquetFile(file).read_row_group(group).to_pandas()
                for _, row in rows.iterrows():
                    yield self.parse_row(row)
