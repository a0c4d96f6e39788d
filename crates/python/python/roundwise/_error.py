from __future__ import annotations


class Error(Exception):
    """What went wrong, and the way out.

    kind: stays what it is while messages change, such as `output_exists`
    message: the file, the tensor, what was found, what was expected
    help: what helps, where the message does not say so; else None
    """

    def __init__(self, kind: str, message: str, help: str | None = None) -> None:
        super().__init__(message if help is None else f"{message}\n  {help}")
        self.kind = kind
        self.message = message
        self.help = help

    def __reduce__(self) -> tuple[type[Error], tuple[str, str, str | None]]:
        return type(self), (self.kind, self.message, self.help)
