"""Why a rollout ends early."""


class RolloutFailed(Exception):
    """The rollout ends here; the live version is untouched. The message is the reason."""


class BadVersion(RolloutFailed):
    """It ends because of the version: it does not load, answers wrongly, or is slower or worse than it may be."""
