"""All exceptions of the project. Every message is written for the user and says what to do."""


class PtxError(Exception):
    """An error with a stable code (`UPPER_SNAKE_CASE`) and a message that can be shown unchanged.

    Neither ever contains a file name, header text or anything else that could identify the patient.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["PtxError"], tuple[str, str]]:
        # Exception's own pickling would pass only the message, and the sandbox sends errors to its parent process.
        return type(self), (self.code, self.message)


class FilmError(PtxError):
    """The file cannot be read: broken, truncated, hostile, too large or in an unknown format."""


class NotAFilmError(FilmError):
    """The file was read but is not a single frontal chest film: rejected, not failed."""


class ContourError(PtxError):
    """A contour that a reader has drawn cannot be used."""


class WeightsError(PtxError):
    """Weights or their manifest are missing, unreachable, damaged or do not fit."""


class SettingsError(PtxError):
    """An operator's setting or a run's configuration cannot be used."""


class AuditError(PtxError):
    """The audit trail cannot be written or read, or was changed by others."""
