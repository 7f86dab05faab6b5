"""Packs files into one folder of a .zip: zip.py ARCHIVE FOLDER FILE…"""

import os
import sys
import time
import zipfile
from pathlib import Path

archive, folder, *files = sys.argv[1:]
when = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
    for file in map(Path, files):
        entry = zipfile.ZipInfo(f"{folder}/{file.name}", when)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        packed.writestr(entry, file.read_bytes())
