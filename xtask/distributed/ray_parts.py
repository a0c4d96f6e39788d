"""Makes a model in parts on Ray, kills one worker in the middle of its part, and prints how often each
part was begun.

    ray_parts.py TOOL MODEL OUTPUT PARTS FLAG ...

The first attempt at part 2 ends the whole worker process with SIGKILL, tool and all, once the part's
journal is there; Ray starts the part again on another worker.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import ray

TOOL, MODEL, OUTPUT, PARTS = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
FLAGS = sys.argv[5:]
VICTIM = 2


def path_of(number):
    digits = len(str(PARTS))
    return OUTPUT.with_name(f"{OUTPUT.stem}.part-{number:0{digits}}-of-{PARTS}.safetensors")


@ray.remote(num_cpus=1, max_retries=3)
def part(number):
    attempts = path_of(number).with_suffix(".attempts")
    with attempts.open("a") as file:
        file.write(".")
    command = [TOOL, "convert", MODEL, "-o", str(OUTPUT), "--force", "--quiet", *FLAGS]
    running = subprocess.Popen([*command, "--part", f"{number}/{PARTS}"])
    is_first = len(attempts.read_text()) == 1
    if number == VICTIM and is_first:
        journal = path_of(number).with_name(f".{path_of(number).name}.journal")
        while running.poll() is None and not journal.exists():
            time.sleep(0.001)
        running.kill()
        os.kill(os.getpid(), signal.SIGKILL)
    if running.wait() != 0:
        raise RuntimeError(f"part {number} ended with {running.returncode}")
    return number


def main():
    for number in range(1, PARTS + 1):
        path_of(number).with_suffix(".attempts").unlink(missing_ok=True)
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False)
    ray.get([part.remote(number) for number in range(1, PARTS + 1)])
    begun = [len(path_of(number).with_suffix(".attempts").read_text()) for number in range(1, PARTS + 1)]
    print(" ".join(map(str, begun)))


main()
