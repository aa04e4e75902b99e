"""What all parts of SAM agree on: shapes of arrays, normalisation of grey, precisions, labels of points."""

from typing import Annotated, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

Picture: TypeAlias = Annotated[NDArray[np.uint8], "rows columns"]
Pixels: TypeAlias = Annotated[NDArray[np.float32], "channels side side"]
Embedding: TypeAlias = Annotated[NDArray[np.float32], "channels rows columns"]
PointCoords: TypeAlias = Annotated[NDArray[np.float32], "prompts points 2"]
PointLabels: TypeAlias = Annotated[NDArray[np.int64], "prompts points"]
Logits: TypeAlias = Annotated[NDArray[np.float32], "side side"]

Normalization: TypeAlias = Literal["sam", "medsam", "ranks"]
"""How 8-bit grey becomes the network's input: by the means of photographs, from 0 to 1 of the slice, or as
grey and its rank among the pixels of the patient."""

Precision: TypeAlias = Literal["float32", "bfloat16"]
"""What the image encoder computes in; the mask decoder's is always float32."""

NO_POINT, OUTSIDE, INSIDE, TOP_LEFT, BOTTOM_RIGHT = -1, 0, 1, 2, 3
"""Labels of points: padding, not the structure, the structure, and the corners of a box."""
