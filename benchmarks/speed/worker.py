"""One side in a process of its own: commands come in as lines of JSON, results go out the same way."""

from __future__ import annotations

import json
import os
import resource
import sys
import time
import traceback
from pathlib import Path
from typing import Any


def main() -> int:
    side, model, dataset, n_cases, threads = *sys.argv[1:4], *map(int, sys.argv[4:6])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever is printed on the way is no answer
    import torch

    torch.set_num_threads(threads)
    from benchmarks.speed import ours, theirs
    from benchmarks.speed.world import Stopwatch, World
    from runner.methods import easyedit

    imported, modules = time.process_time(), len(sys.modules)
    with Stopwatch() as loading:
        world = World.load(model, dataset, n_cases)
    world.lm.generate(["warm"], 1)

    def do(what: str, **given: Any) -> Any:
        if what == "ready":
            return {"import": imported, "modules": modules, "load": loading.times(), "memory": _memory()}
        if what == "memory":
            return {"memory": _memory()}
        if what == "job" and side == "ours":
            return ours.job(world, model=model, dataset=dataset, **given)
        if what == "start up":
            return theirs.start_up()
        if side == "theirs" and what != "edit":
            given["home"] = Path(easyedit.home())
        return getattr(ours if side == "ours" else theirs, what)(world, **given)

    for line in sys.stdin:
        command = json.loads(line)
        try:
            result = {"result": do(command.pop("do"), **command)}
        except Exception as error:
            traceback.print_exc()
            result = {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        answers.write(json.dumps(result) + "\n")
        answers.flush()
    return 0


def _memory() -> int:
    """Peak bytes of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    raise SystemExit(main())
