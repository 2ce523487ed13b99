"""Where results go: into memory, or into files that outlive the process."""

from ._archive import AbstractArchive as AbstractArchive
from ._open import check_folder as check_folder, fingerprint as fingerprint, open_archive as open_archive
from ._points import (
    open_points as open_points,
    PointsInMemory as PointsInMemory,
    PointsOnDisk as PointsOnDisk,
)
from ._rows import RowsOnDisk as RowsOnDisk
