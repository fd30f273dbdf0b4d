#!/bin/sh
# As AWS's own entry point: with a runtime API the handler runs there, without one below the emulator, on port 8080.
if [ $# -ne 1 ]; then
    echo "entrypoint requires the handler name to be the first argument" 1>&2
    exit 142
fi
export _HANDLER="$1"
# Where the layers of a function from a zip are; an image that says otherwise is left alone, as AWS's base does.
export PYTHONPATH="${PYTHONPATH-/opt/python}"
if [ -z "${AWS_LAMBDA_RUNTIME_API}" ]; then
    exec /usr/local/bin/aws-lambda-rie python3 -m awslambdaric "$1"
fi
exec python3 -m awslambdaric "$1"
