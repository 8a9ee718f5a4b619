"""The errors of this room: each says what was wrong, where, and what to do."""


class DeviceError(RuntimeError):
    """The device or number format asked for is not there."""


class PrivacyError(RuntimeError):
    """Something would tell more of private samples than the noise hides; found before it is done."""


class TrainingError(RuntimeError):
    """Training cannot go on: the loss is no longer a number, or there is nothing to train on."""
