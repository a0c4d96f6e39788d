"""The tool under test, as its users start it."""

import json
import subprocess
from dataclasses import dataclass


@dataclass
class Answer:
    """What a command said."""

    exit_code: int
    text: str
    complaint: str

    def json(self):
        """The report that a command printed; empty if it failed."""
        return json.loads(self.text) if self.exit_code == 0 else {}


class Program:
    """One binary."""

    def __init__(self, path):
        self.path = path

    def run(self, *arguments):
        words = [self.path, *map(str, arguments)]
        done = subprocess.run(words, capture_output=True, text=True)
        return Answer(done.returncode, done.stdout, done.stderr.strip())
