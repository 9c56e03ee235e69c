"""What Triton's interpreter lacks."""

from typing import Any

import pytest

try:
    from triton.runtime import interpreter
except ImportError:
    interpreter = None


@pytest.fixture(autouse=True)
def one_number_is_an_integer(monkeypatch: pytest.MonkeyPatch) -> None:
    """numpy 2.4 turns no array of one number into an integer, which loops of the interpreter still
    ask for.
    """
    if interpreter is None:
        return
    before = interpreter._patch_lang_tensor

    def patch(tensor: Any, scope: Any) -> None:
        before(tensor, scope)
        scope.set_attr(tensor, "__index__", lambda self: self.handle.data.item())

    monkeypatch.setattr(interpreter, "_patch_lang_tensor", patch)
