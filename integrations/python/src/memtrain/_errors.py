"""What can go wrong."""

from __future__ import annotations


class MemtrainError(Exception):
    """Any error of this package."""


class DataError(MemtrainError):
    """A corpus or a run is not there, not finished, or not as it was written."""


class ProgramNotFoundError(MemtrainError):
    """The program `memtrain` is neither on the `PATH` nor in `$MEMTRAIN_PROGRAM`."""


class CommandError(MemtrainError):
    """The program has refused a command.

    Attributes:
        code: its exit code: 1 a failure with a name, 2 something typed is wrong, 75 stopped by a signal; negative, the
            number of the signal that has ended it.
        message: what it says behind `error:`, with the causes.
        hint: what it says can be done, or None.
    """

    def __init__(self, code: int, message: str, hint: str | None = None):
        super().__init__(message if hint is None else f"{message}\nhint: {hint}")
        self.code = code
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type[CommandError], tuple[int, str, str | None]]:
        # Pools of processes send errors to each other.
        return type(self), (self.code, self.message, self.hint)

    @classmethod
    def of_log(cls, code: int, log: str) -> CommandError:
        """The error that a program's last words tell."""
        message, hint = [], None
        for line in log.splitlines():
            if line.startswith("error: "):
                message, hint = [line.removeprefix("error: ")], None
            elif line.startswith("hint: "):
                hint = line.removeprefix("hint: ")
            elif message and line.startswith("  "):
                message.append(line.strip())
        if not message:
            ended = f"signal {-code}" if code < 0 else f"exit code {code}"
            message = [f"memtrain ended with {ended}: {log.strip()[-500:]}"]
        return cls(code, "\n".join(message), hint)
