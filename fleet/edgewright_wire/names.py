"""Grammars of the names that engine and devices exchange, each written down here and nowhere else.

The patterns are anchored and mean the same to Python's ``re.fullmatch``, to pydantic and in a JSON Schema.
"""

import re
from typing import Annotated

from pydantic import Field

LONGEST_DEVICE_ID = 128
LONGEST_ENROLLED_DEVICE_ID = 64
"""Longest device id that can enroll for a certificate: X.520 bounds a common name at 64 characters."""
LONGEST_MODEL_NAME = 253

DEVICE_ID_PATTERN = rf"^[A-Za-z0-9]([A-Za-z0-9._-]{{0,{LONGEST_DEVICE_ID - 2}}}[A-Za-z0-9])?$"
DEVICE_ID_RULE = (
    "letters, digits, '.', '_' and '-', starting and ending with a letter or digit, "
    f"at most {LONGEST_DEVICE_ID} characters"
)
"""The grammar in words, for messages; so the other rules."""
MODEL_NAME_PATTERN = rf"^[a-z0-9]([-a-z0-9.]{{0,{LONGEST_MODEL_NAME - 2}}}[a-z0-9])?$"
MODEL_NAME_RULE = f"lower-case letters, digits, '-' and '.', at most {LONGEST_MODEL_NAME} characters"
DIGEST_PATTERN = r"^sha256:[0-9a-f]{64}$"
DIGEST_RULE = "'sha256:' and 64 hexadecimal digits"
FILE_NAME_PATTERN = r"^[^/\\\x00]{1,255}$"

DeviceId = Annotated[str, Field(pattern=DEVICE_ID_PATTERN)]
ModelName = Annotated[str, Field(pattern=MODEL_NAME_PATTERN)]
Digest = Annotated[str, Field(pattern=DIGEST_PATTERN)]
FileName = Annotated[str, Field(pattern=FILE_NAME_PATTERN)]


def is_device_id(text: str) -> bool:
    """Return whether a text is a device id."""
    return re.fullmatch(DEVICE_ID_PATTERN, text) is not None


def is_model_name(text: str) -> bool:
    """Return whether a text is a model's name."""
    return re.fullmatch(MODEL_NAME_PATTERN, text) is not None
