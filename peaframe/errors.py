"""Every error peaframe raises on purpose.

A message is one line that says what was got, what was expected, and what to do. The command line turns any
`PeaframeError` into that line on stderr and exit code 2; anything else is a bug and shows its traceback.
"""


class PeaframeError(Exception):
    """The root of all of peaframe's own errors."""


class AudioError(PeaframeError):
    """A recording cannot be read: missing, empty, not audio, corrupt, or out of the range asked for."""


class VideoError(PeaframeError):
    """The pictures of a video cannot be read: missing, none there, or corrupt."""


class FormatError(PeaframeError):
    """An annotation file or a format name cannot be understood or written."""


class OptionError(PeaframeError):
    """An option or argument has a value that makes no sense."""


class ConfigError(PeaframeError):
    """A configuration has an unknown key or a value of the wrong kind."""


class ManifestError(PeaframeError):
    """A list of training or evaluation data is malformed."""


class ModelError(PeaframeError):
    """A model is unknown, or was asked for something it cannot do."""


class CheckpointError(ModelError):
    """A checkpoint folder is incomplete, malformed, or does not fit its configuration."""


class MissingExtraError(PeaframeError):
    """An optional dependency is needed and not installed."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs {package}, which is not installed; run: pip install 'peaframe[{extra}]'"
        )
