"""The deployed service on this machine, without Docker, Node or an AWS account.

::

    socket ─ server (uvicorn) ─▶ gateway: HTTP becomes API Gateway's event, limits and time-outs included
                                    ─▶ wiring: path → function ─▶ handlers.predict | handlers.control
                                    ◀─ the function's answer becomes HTTP again
    inventory: which artifacts there are to serve, and which configured models still lack one
"""
