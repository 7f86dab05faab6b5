"""Packs files, and the contents of folders, into one folder of a .zip: zip.py ARCHIVE FOLDER FILE…"""

import os
import sys
import time
import zipfile
from pathlib import Path

archive, folder, *files = sys.argv[1:]
when = time.gmtime(int(os.environ["SOURCE_DATE_EPOCH"]))[:6]
packed_as = {}
for given in map(Path, files):
    within = sorted(given.rglob("*")) if given.is_dir() else [given]
    base = given if given.is_dir() else given.parent
    packed_as |= {file.relative_to(base).as_posix(): file for file in within if file.is_file()}
with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as packed:
    for name, file in packed_as.items():
        entry = zipfile.ZipInfo(f"{folder}/{name}", when)
        entry.compress_type = zipfile.ZIP_DEFLATED
        entry.external_attr = 0o644 << 16
        packed.writestr(entry, file.read_bytes())
