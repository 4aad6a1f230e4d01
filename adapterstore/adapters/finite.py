"""Find tensors that are not finite while a file's bytes go by; nothing of torch is needed for it.

In an infinity or a NaN all bits of the exponent are set, which shows in a value's highest byte.
Only where one does, which in weights of any use it never does, is the tensor looked at closely.
"""

from __future__ import annotations

from pathlib import Path

from adapterstore.adapters.tensor_file import DTYPE_SIZES, TensorFile
from adapterstore.adapters.tensor_reader import TensorReader
from adapterstore.errors import MalformedAdapter

_HIGHEST_BYTES = {
    "F16": b"\x7c\x7d\x7e\x7f\xfc\xfd\xfe\xff",
    "BF16": b"\x7f\xff",
    "F32": b"\x7f\xff",
    "F64": b"\x7f\xff",
}
"""Which the highest byte of a value can be that is not finite."""


class FiniteCheck:
    """Takes the bytes of one tensor file, in order; then tells of values that are not finite."""

    def __init__(self, tensor_file: TensorFile):
        self._file = tensor_file
        start = tensor_file.data_start
        self._tensors = sorted(
            (start + info.begin, start + info.end, info.dtype, name)
            for name, info in tensor_file.tensors.items()
            if info.dtype in _HIGHEST_BYTES
        )
        self._position = 0
        self._next = 0
        """The first tensor whose end has not gone by."""
        self._suspects: dict[str, None] = {}

    def __call__(self, part: memoryview) -> None:
        """Take the next bytes of the file."""
        data, start = bytes(part), self._position
        self._position += len(data)
        for begin, end, dtype, name in self._tensors[self._next :]:
            if begin >= self._position:
                break
            size = DTYPE_SIZES[dtype]
            # Of the highest bytes, at begin + size − 1, begin + 2·size − 1, …, the first one here.
            first = max(begin, start) + (begin - 1 - max(begin, start)) % size
            highest = data[first - start : end - start : size]
            if any(byte in highest for byte in _HIGHEST_BYTES[dtype]):
                self._suspects[name] = None
            self._next += end <= self._position

    def finish(self, path: Path) -> None:
        """Tell what came of it; ``path`` has the bytes that were seen.

        Raises:
            MalformedAdapter: a tensor holds an infinity or a NaN.
        """
        reader = TensorReader(path)
        for name in self._suspects:
            if not bool(reader.load(name).isfinite().all()):
                raise MalformedAdapter(
                    str(self._file.path),
                    f"tensor {name} holds values that are not finite (NaN or infinity), so no "
                    "state with it would be of any use; train or save it again",
                )
