"""The small tree of errors that users may meet: a message says what was wrong with which file or setting, and what to do."""


class DamaError(Exception):
    """Base of every error that is meant for the user's eyes."""


class SlideError(DamaError, ValueError):
    """A slide cannot be read, or its metadata cannot be trusted."""


class PanelError(DamaError, ValueError):
    """Markers of a slide and of a model do not fit together."""


class SettingsError(DamaError, ValueError):
    """A setting is outside its bounds, or unknown."""


class StoreError(DamaError, ValueError):
    """A crop store is missing, damaged, or does not fit."""


class ModelError(DamaError, ValueError):
    """A model's card or weights are missing, damaged, or do not fit each other."""


class OutputError(DamaError, OSError):
    """An output exists already, or cannot be written."""


class JobError(DamaError, RuntimeError):
    """A job cannot be started, changed or removed as it stands: it runs already, or there is none."""


class Interrupted(DamaError):
    """The user asked to stop; what was finished is kept."""
