"""The same fit beyond one machine: statistics over shards, mini-batches and batches over ranks.

`torch.distributed` does the work; processes are started by `torchrun`, or by whatever the reader
has. `torchrun --nproc-per-node 2 -m helpers.distributed DATA... --out FILE` fits shards from the
shell; its ``--help`` tells more.
"""

from importlib import import_module
from typing import Any

from helpers.distributed.fitting import ShardFit, fit_shards
from helpers.distributed.reduction import reduce_statistics
from helpers.distributed.shards import Shard, list_shards

__all__ = [
    "Shard",
    "ShardFit",
    "fit_batches",
    "fit_data_parallel",
    "fit_shards",
    "list_shards",
    "reduce_statistics",
]

# DistributedDataParallel costs an import that shards do not need.
_LATER = {"fit_batches": "batches", "fit_data_parallel": "parallel"}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module 'helpers.distributed' has no attribute {name!r}")
    return getattr(import_module(f"helpers.distributed.{_LATER[name]}"), name)
