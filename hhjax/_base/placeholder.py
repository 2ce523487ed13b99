"""What stands where a file names a class or a function that is not taken from files."""

from typing import Any, NoReturn


class NotLoaded(ValueError):
    """Something used what is not there."""


class Placeholder:
    """What a file names and `hh.load` does not take. It can be printed and put aside, nothing else."""

    __slots__ = ("_kind", "_name", "_file")

    def __init__(self, kind: str, name: str, file: str) -> None:
        self._kind, self._name, self._file = kind, name, file

    def __repr__(self) -> str:
        return f"<{self._kind} {self._name}, which was not loaded from {self._file}>"

    def told(self) -> str:
        """What it is, and how to get it."""
        name = self._name.rpartition(":")[2]
        name = name if name.replace(".", "_").isidentifier() else "..."
        return (
            f"{self._file} names the {self._kind} {self._name}, which hh.load does not take from a file. "
            f"If you trust it, import it and load the file again with allow=[{name}]."
        )

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") and name != "__dataclass_fields__":  # what Python asks of any object
            raise AttributeError(name)
        raise NotLoaded(self.told())

    def _refuse(self, *args: Any, **given: Any) -> NoReturn:
        raise NotLoaded(self.told())

    __call__ = __getitem__ = __iter__ = __len__ = __bool__ = __contains__ = __float__ = __array__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __truediv__ = __rtruediv__ = _refuse
