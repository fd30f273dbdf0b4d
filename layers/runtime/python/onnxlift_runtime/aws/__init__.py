"""The only package that imports boto3: jobs in a table, bodies in a bucket, messages in queues,
events on a bus.

Each module wraps one service behind the few calls that the job flow needs and takes its client from
outside, so that a test can hand it moto's. ``connect`` makes the clients, once for a process.
"""
