"""The command `emt`, with FSDP on processes without GPUs.

accelerate offers FSDP on accelerators only, though torch's second version of it runs on CPUs as well: here the state
that accelerate keeps is told so. Everything else goes the way that it goes on GPUs.
"""

from __future__ import annotations

import sys
from typing import Any

from accelerate import FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedType

from emt_tasks.commands.app import main

_begin = AcceleratorState.__init__
_plugins: list[FullyShardedDataParallelPlugin] = []


def _begin_with_fsdp(state: AcceleratorState, *arguments: Any, **options: Any) -> None:
    _begin(state, *arguments, **options)
    if state.distributed_type == DistributedType.MULTI_CPU:
        if not _plugins:
            _plugins.append(FullyShardedDataParallelPlugin(fsdp_version=2))
        state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, _plugins[0]


if __name__ == "__main__":
    AcceleratorState.__init__ = _begin_with_fsdp  # type: ignore[method-assign]
    sys.exit(main(sys.argv[1:]))
