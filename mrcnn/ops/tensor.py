"""What a tensor is to a type checker: each backend has a type of its own."""

from typing import Any

Tensor = Any
