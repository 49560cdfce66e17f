"""Calls made by the workers of a Ray cluster, behind the engine's seam.

A run stays what it is: the driver (the process that was started) goes through the samples,
holds an endpoint's limit, tries again, keeps to the budget and alone writes the journal.
Only `Model.generate` happens elsewhere: a `RemoteModel` hands the call to a worker, which has
opened the same SPEC, asks, takes the reply apart and sends it back.

    joining   connect to a cluster, or start one on this machine
    probe     what a node has, told by code that needs nothing of ours there
    parcels   what goes between driver and workers: plain records, as JSON
    worker    the process on a node: models, and the calls it was given
    station   one worker, as the driver sees it
    pool      the driver's side of the workers: who gets a call, who was lost
    remote    the model that a run sees
"""
