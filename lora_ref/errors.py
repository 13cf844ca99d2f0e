"""What lora_ref raises: sentences that name the thing, what was got and what was expected."""


class LoraRefError(ValueError):
    """A value that lora_ref cannot work with; every error of the package is one of these."""


class ShapeError(LoraRefError):
    """An array whose axes do not fit the place where it was put."""


class FileError(LoraRefError):
    """A file or folder that is missing, or cannot be read, used or written: `path` names it.

    The message begins with the path, or with `named` in its place.
    """

    def __init__(self, path: object, sentence: str, *, named: str = "") -> None:
        if len(sentence) > 1000:  # a damaged file may hold a name of a megabyte
            sentence = f"{sentence[:500]} ... {sentence[-300:]}"
        super().__init__(f"{named or path} {sentence}")
        self.path = path
