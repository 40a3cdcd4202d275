"""llama.cpp's own HTTP server, out of the wheel `xllamacpp`: server.py MODEL.gguf PORT [NAME=VALUE…]

Prints `ready http://127.0.0.1:PORT` when it serves. NAME is one of `CommonParams`, for example n_ctx=4096, n_parallel=2,
sse_ping_interval=1; key=K asks for that key, alias=A renames the model.
"""
import sys
import threading

import xllamacpp

params = xllamacpp.CommonParams()
params.model.path = sys.argv[1]
params.hostnames = ["127.0.0.1"]
params.port = int(sys.argv[2])
params.n_ctx, params.n_parallel, params.n_gpu_layers = 4096, 2, 0
params.cpuparams.n_threads = 2
params.warmup = False
for setting in sys.argv[3:]:
    name, _, value = setting.partition("=")
    if name == "key":
        params.api_keys = [value]
    elif name == "alias":
        params.model_alias = {value}
    else:
        setattr(params, name, type(getattr(params, name))(int(value) if value.lstrip("-").isdigit() else value))
server = xllamacpp.Server(params)
print("ready", server.listening_address, flush=True)
threading.Event().wait()
