"""The images that run in AWS, built on this machine: ``python -m infra.images``, or ``make
images``.

``engine`` finds docker or podman; ``recipes`` says what each image is built from; ``bases`` makes
sure that what they start from is there; ``build`` lays a context out and builds it, with the
package index and certificates that ``access`` reads from this machine. ``standin`` makes images
that stand for the bases where no registry is reachable, and ``slim`` runs inside a build, to leave
out what no function loads.
"""
