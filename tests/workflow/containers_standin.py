"""Stand-ins for apptainer, and for a conda inside its images, that run everything right here.

They know the commands that Snakemake gives. What a job would see of the machine is written down
instead of enforced; an environment of conda's is the Python that runs the tests.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

APPTAINER = """\
#!/bin/sh
if [ "$1" = --version ]; then echo "apptainer version 1.3.4"; exit; fi
echo "$APPTAINER_BIND | $*" | tr '\\n' ' ' >> {log}
echo >> {log}
while [ $# -gt 3 ]; do shift; done  # what is left is: sh -c COMMAND
exec "$@"
"""

CONDA = """\
#!/bin/sh
case "$*" in
--version) echo "conda 24.11.3" ;;
"info --json") echo '{{"platform": "linux-64", "conda_prefix": "{base}"}}' ;;
"env create "*)
    while [ "$1" != --prefix ]; do shift; done
    mkdir -p "$2/bin"
    printf '#!/bin/sh\\nexec {python} "$@"\\n' > "$2/bin/python"
    chmod +x "$2/bin/python" ;;
esac
"""


def lay_tools(folder: Path) -> tuple[dict[str, str], Path]:
    """Write the stand-ins; return a PATH that finds them, and the file of what was asked."""
    log, bin_ = folder / "asked.txt", folder / "bin"
    bin_.mkdir()
    log.touch()
    for name, text in (("apptainer", APPTAINER), ("conda", CONDA)):
        (bin_ / name).write_text(text.format(log=log, base=folder, python=sys.executable))
        (bin_ / name).chmod(0o755)
    (bin_ / "activate").write_text('export PATH="$1/bin:$PATH" CONDA_PREFIX="$1"\n')
    path = [str(bin_), str(Path(sys.executable).parent), os.environ["PATH"]]
    return {"PATH": os.pathsep.join(path)}, log
