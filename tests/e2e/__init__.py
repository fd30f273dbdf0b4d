"""The unmodified app, deployed by the unmodified ``cdk`` to an emulator of AWS, used there, changed
and destroyed.

``containers`` gives the emulator a container engine and an address that containers reach;
``emulator`` runs it in an environment of its own; ``cloud`` is the account: ``cdk`` and clients
that talk to it; ``program`` stands between ``cdk`` and the container engine, because the emulator's
image registry has no address. The files are run in the order of their names: the service answers,
works on jobs, is deployed again, and goes.
"""
