"""What is told once when it goes wrong, and once when it is right again."""

from __future__ import annotations

from streaming.messages import Message, Trouble


class Alarm:
    """Tells once that something is wrong, and once that it is right again.

    Parameters
    ----------
    right
        What to tell when it is right again.
    """

    def __init__(self, right: str) -> None:
        self._right = right
        self._is_wrong = False

    def judge(self, wrong: str | None) -> list[Message]:
        """Take what is wrong now, or None; return what is new about it."""
        was_wrong, self._is_wrong = self._is_wrong, wrong is not None
        if self._is_wrong == was_wrong:
            return []
        return [Trouble(wrong or self._right)]
