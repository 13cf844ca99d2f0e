"""What a student hears."""

from dataclasses import dataclass

RIGHT = "right"
NOT_ATTEMPTED = "not-attempted"


@dataclass(frozen=True)
class Feedback:
    """The result of a check; as the last line of a cell it shows its sentence.

    Parameters
    ----------
    exercise : str
        The id of the exercise.
    result : str
        ``"right"``, ``"not-attempted"``, or the name of what is wrong.
    says : str
        One or two sentences for the student.
    """

    exercise: str
    result: str
    says: str

    @property
    def right(self) -> bool:
        """Whether the answer is right."""
        return self.result == RIGHT

    def __bool__(self) -> bool:
        return self.right

    def __repr__(self) -> str:
        return f"{self.exercise}: {self.says}"
