"""Why a run cannot take place in one kernel."""


class NotFused(ValueError):
    """Why a run cannot take place in one kernel."""
