"""What lora_ref raises: sentences that name the thing, what was got and what was expected."""


class LoraRefError(ValueError):
    """A value that lora_ref cannot work with; every error of the package is one of these."""


class ShapeError(LoraRefError):
    """An array whose axes do not fit the place where it was put."""
