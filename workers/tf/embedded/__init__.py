"""A drop-in for `tensorflow_model_server`, in Python: same flags, same wire, same life of a version.

Rooms, from pure to plumbing:

    flags  policies  directories  model_config       what we were asked to serve
    states  plan  versions  manager  source          which versions live, and when they come and go
    lookup  reload  status                           names, versions and labels for requests and operators
    savedmodel  tensors  signatures  prediction      one request through one version
    grpc_services  rest_routes  rest_app             the two dialects
    faults  deadlines  owner                         errors, points in time, threads
    server  __main__                                 the composition root

The first two rows import no tensorflow; `__main__` sets its environment before the others do.
"""
