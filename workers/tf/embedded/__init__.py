"""A drop-in for `tensorflow_model_server`, in Python: same flags, same wire, same life of a version.

Rooms, from pure to plumbing:

    flags  flag_table  schemas  policies  directories  model_config      what we were asked to serve
    states  plan  versions  manager  source  config_polling              which versions live, and when they come and go
    lookup  reload  status                                               names, versions and labels of all of them
    savedmodel  session_options  loading  warmup                         from a directory to a version that may serve
    batching  batch_queues  batched_model                                many requests, one run
    tensors  signatures  prediction  classification  example_inference   one request through one version
    grpc_services  grpc_listener  health                                 the gRPC dialect
    rest_bodies  rest_calls  rest_app  json_examples                     the REST dialect
    faults  deadlines  owner  metrics                                    errors, points in time, threads, counts
    listeners  server  __main__                                          the composition root

The REST dialect's routes, JSON and words of refusal are in `contracts/tfserving_rest/`: the gateway speaks it, too.
No tensorflow is imported before `__main__` has set the environment that tensorflow reads.
"""
