"""The deployed service on this machine, without Docker, Node or an AWS account.

::

    socket ─ server (uvicorn) ─▶ gateway: HTTP becomes API Gateway's event, limits and time-outs
    included
                                    ─▶ wiring: path → function ─▶ handlers.predict |
                                    handlers.control ◀─ the function's answer becomes HTTP again
    cloud: S3, SQS, DynamoDB and EventBridge, in a process beside it ─ poller ─▶ worker: the
    functions that queues feed gpu: the GPU worker of AWS, on the processor inventory: which
    artifacts there are to serve, and which configured models still lack one
"""
