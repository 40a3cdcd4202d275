"""The behaviour of the earlier gateway in FastAPI and httpx: what many have today, and what is compared with.

One history per socket, each text frame a turn, the reply as text frames with what is new. UPSTREAM is host:port of
the simulator. benches/compare/run starts it under uvicorn with uvloop, one worker per core.
"""
import json
import os

import httpx
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

URL = f"http://{os.environ['UPSTREAM']}/api/v1/services/aigc/text-generation/generation"
HEADERS = {"Authorization": "Bearer bench-key", "X-DashScope-SSE": "enable", "Accept": "text/event-stream"}

app = FastAPI()
client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None, max_keepalive_connections=100))


async def answer(socket: WebSocket, history: list) -> str:
    """Streams one answer to the socket and returns it."""
    body = {
        "model": "sim-chat",
        "input": {"messages": history},
        "parameters": {"result_format": "message", "incremental_output": True},
    }
    parts = []
    async with client.stream("POST", URL, headers=HEADERS, json=body) as response:
        if response.status_code != 200:
            error = json.loads(await response.aread())
            await socket.send_text(f"Error: {error.get('message')}")
            return ""
        async for line in response.aiter_lines():
            if not line.startswith("data:"):
                continue
            try:
                event = json.loads(line[len("data:"):])
            except json.JSONDecodeError:
                await socket.send_text(line[len("data:"):])
                continue
            if "output" not in event:
                await socket.send_text(f"Error: {event.get('message')}")
                return ""
            text = event["output"]["choices"][0]["message"]["content"]
            if text:
                parts.append(text)
                await socket.send_text(text)
    return "".join(parts)


@app.websocket("/chat")
async def chat(socket: WebSocket) -> None:
    await socket.accept()
    history = []
    try:
        while True:
            text = (await socket.receive_text()).rstrip("\r\n")
            history.append({"role": "user", "content": text})
            history.append({"role": "assistant", "content": await answer(socket, history)})
    except (WebSocketDisconnect, RuntimeError):
        pass
