"""The GPU worker: the same engine as on Lambda, fed by SQS, for what is too much for Lambda.

Messages are received and claimed, gathered into batches of one model and shape, run on the device,
and their results published through the table; the queue's visibility and the job's lease are
prolonged for as long as that takes.
"""
