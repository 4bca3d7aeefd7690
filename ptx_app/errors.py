"""The one exception tree. Every message is written for the person at the screen and says what to do."""


class PtxError(Exception):
    """An error with a stable code (`UPPER_SNAKE_CASE`) and a sentence that may be shown as it is.

    Neither ever holds a file name, a header's text or anything else that could tell who the patient is.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["PtxError"], tuple[str, str]]:
        # Exception's own pickling would pass the message alone; the reader's child process sends errors home.
        return type(self), (self.code, self.message)


class FilmError(PtxError):
    """The file cannot be read: broken, cut short, hostile, too large or of no known format."""


class NotAFilmError(FilmError):
    """The file was understood, and is no single frontal chest film: refused, not failed."""


class WeightsError(PtxError):
    """Weights or their manifest are missing, unreachable, damaged or do not fit."""


class SettingsError(PtxError):
    """A setting of the operator or a run's configuration cannot be used."""
