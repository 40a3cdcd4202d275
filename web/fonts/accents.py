"""Lets accents stretch: browsers stretch the characters on the left, the font has the sizes of those on the right."""

import sys

from fontTools.ttLib import TTFont

SIZES_OF = {0x02DC: 0x0303, 0x02C7: 0x030C}

source, target = sys.argv[1:]
font = TTFont(source, recalcTimestamp=False)
for table in font["cmap"].tables:
    for spacing, combining in SIZES_OF.items():
        if combining in getattr(table, "cmap", {}):
            table.cmap[spacing] = table.cmap[combining]
font.save(target)
