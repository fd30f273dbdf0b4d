#!/bin/sh
# Pin requirements/*.txt anew: versions and hashes for every Python and platform we support, no addresses of any index.
set -eu
cd "$(dirname "$0")"
python -m pip install --quiet --disable-pip-version-check uv
for name in runtime gpu laptop infra dev e2e; do
    uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-header --no-annotate "$name.in" --output-file "$name.txt"
done
