"""What lora_ref raises: sentences that name the thing, what was got and what was expected."""


class LoraRefError(ValueError):
    """A value that lora_ref cannot work with; every error of the package is one of these."""


class ShapeError(LoraRefError):
    """An array whose axes do not fit the place where it was put."""


class CheckpointError(LoraRefError):
    """A file or folder of weights that cannot be used; `path` names it."""

    def __init__(self, path: object, sentence: str) -> None:
        if len(sentence) > 1000:  # a damaged file may hold a name of a megabyte
            sentence = f"{sentence[:500]} ... {sentence[-300:]}"
        super().__init__(f"{path} {sentence}")
        self.path = path
