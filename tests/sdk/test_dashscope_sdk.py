"""What a user of the official DashScope SDK sees when it talks to the simulator.

Run against a simulator that listens somewhere:

    SIMULATOR_URL=http://127.0.0.1:PORT/api/v1 python -m pytest tests/sdk

The SDK holds two client stacks, the older module-level one and the newer `Client`; both are used,
with and without asyncio.
"""

import asyncio
import os
import uuid

import pytest

URL = os.environ.get("SIMULATOR_URL")
if not URL:
    pytest.skip("SIMULATOR_URL is not set", allow_module_level=True)

import dashscope  # noqa: E402
from dashscope import AioGeneration, AsyncClient, Client, Generation, MultiModalConversation  # noqa: E402
from dashscope.v2 import errors  # noqa: E402

dashscope.base_http_api_url = URL
KEY = "sk-test"


def user(text):
    return [{"role": "user", "content": text}]


def tag():
    """A word that makes a message unlike all others."""
    return f"tag={uuid.uuid4().hex}"


# The older stack: one function for both ways, so that each test runs twice.


def old_sync(**arguments):
    result = Generation.call(**{"api_key": KEY, "model": "sim-chat", "result_format": "message", **arguments})
    return list(result) if arguments.get("stream") else [result]


def old_async(**arguments):
    async def run():
        result = await AioGeneration.call(
            **{"api_key": KEY, "model": "sim-chat", "result_format": "message", **arguments}
        )
        return [item async for item in result] if arguments.get("stream") else [result]

    return asyncio.run(run())


old = pytest.mark.parametrize("call", [old_sync, old_async], ids=["sync", "async"])


def content(item):
    return item.output.choices[0].message.content


@old
def test_old_plain_reply(call):
    [reply] = call(messages=user('/sim text="Hello there"'))
    assert (reply.status_code, content(reply)) == (200, "Hello there")
    assert reply.output.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.input_tokens + reply.usage.output_tokens
    assert uuid.UUID(reply.request_id)


@old
def test_old_incremental_stream(call):
    items = call(messages=user('/sim text="One two 三四 🌊"'), stream=True, incremental_output=True)
    assert "".join(content(item) for item in items) == "One two 三四 🌊"
    assert [item.output.choices[0].finish_reason for item in items] == ["null"] * (len(items) - 1) + ["stop"]
    totals = [item.usage.output_tokens for item in items]
    assert totals == sorted(totals) and totals[-1] == len(items) - 1
    assert len({item.request_id for item in items}) == 1


@old
def test_old_cumulative_stream_of_the_server(call):
    """The mode is not given, so the server's default holds."""
    items = call(messages=user('/sim text="One two three"'), stream=True)
    texts = [content(item) for item in items]
    assert all(later.startswith(earlier) for earlier, later in zip(texts, texts[1:]))
    assert texts[0] == "One" and texts[-1] == "One two three"


@old
def test_old_cumulative_stream_of_the_sdk(call):
    """The SDK asks a server for increments and adds them up itself."""
    items = call(messages=user('/sim text="One two three"'), model="qwen-plus", stream=True, incremental_output=False)
    assert content(items[-1]) == "One two three"


@old
def test_old_text_format(call):
    [reply] = call(messages=user("/sim text=Hello"), result_format="text")
    assert reply.output.text == "Hello"


@old
def test_old_thinking(call):
    items = call(model="sim-think", messages=user("hi"), stream=True, incremental_output=True)
    thoughts = [item.output.choices[0].message.get("reasoning_content", "") for item in items]
    answer = [content(item) for item in items]
    assert "The user writes" in "".join(thoughts) and "".join(answer).startswith("Hello")
    first_text = next(at for at, text in enumerate(answer) if text)
    assert not any(thoughts[first_text:]) and all(thoughts[:first_text])
    assert items[-1].usage.output_tokens_details["reasoning_tokens"] == first_text


@old
def test_old_thinking_needs_a_stream(call):
    [reply] = call(model="sim-think", messages=user("hi"))
    assert (reply.status_code, reply.code) == (400, "InvalidParameter")
    assert "only support stream mode" in reply.message


@old
@pytest.mark.parametrize("stream", [False, True])
def test_old_wrong_key(call, stream):
    [reply] = call(api_key="sk-invalid", messages=user("hi"), stream=stream)
    assert (reply.status_code, reply.code) == (401, "InvalidApiKey")
    assert reply.message == "Invalid API-key provided." and reply.request_id


@old
@pytest.mark.parametrize("carrier, status", [("a", 429), ("b", 429), ("c", 400)])
def test_old_too_many_requests(call, carrier, status):
    """Under HTTP 200 this stack makes a 400 of every error frame; the code is right everywhere."""
    [reply] = call(
        messages=user(f"/sim carrier={carrier} status=429 code=Throttling.RateQuota"),
        stream=True,
        incremental_output=True,
    )
    assert (reply.status_code, reply.code) == (status, "Throttling.RateQuota")
    assert reply.message.startswith("Requests rate limit exceeded") and reply.request_id


@old
def test_old_error_in_mid_stream(call):
    items = call(
        messages=user("/sim tokens=10 error_after=3 code=DataInspectionFailed"), stream=True, incremental_output=True
    )
    assert [item.status_code for item in items] == [200, 200, 200, 400]
    assert items[-1].code == "DataInspectionFailed"


@old
def test_old_length(call):
    items = call(messages=user("/sim tokens=50"), stream=True, incremental_output=True, max_tokens=5)
    assert items[-1].output.choices[0].finish_reason == "length"
    assert items[-1].usage.output_tokens == 5


@old
def test_old_memory(call):
    [reply] = call(
        messages=[
            *user("My name is Ada."),
            {"role": "assistant", "content": "Nice to meet you."},
            *user("What is my name?"),
        ]
    )
    assert "Ada" in content(reply)


@old
@pytest.mark.parametrize("switches", ["bytes=1", "split_utf8", "crlf", "group=5", "comments", "keepalive_ms=1"])
def test_old_harmless_spellings(call, switches):
    items = call(messages=user(f'/sim text="One 二三 🌊 four" {switches}'), stream=True, incremental_output=True)
    assert "".join(content(item) for item in items) == "One 二三 🌊 four"
    assert items[-1].output.choices[0].finish_reason == "stop"


@pytest.mark.parametrize("stream", [False, True])
def test_old_multimodal(stream):
    result = MultiModalConversation.call(
        api_key=KEY,
        model="qwen3-vl-plus",
        messages=[{"role": "user", "content": [{"text": '/sim text="One two"'}]}],
        stream=stream,
        incremental_output=True if stream else None,
    )
    items = list(result) if stream else [result]
    text = "".join(part["text"] for item in items for part in content(item))
    assert text == "One two" and items[-1].output.choices[0].finish_reason == "stop"


def test_old_wrong_path_for_the_model():
    [reply] = old_sync(model="qwen-vl-max", messages=user("hi"))
    assert (reply.status_code, reply.code) == (400, "InvalidParameter") and "url error" in reply.message


# The newer stack.


def new_sync(**arguments):
    with Client(api_key=arguments.pop("api_key", KEY), base_url=URL) as client:
        result = client.chat.completions.create(**{"model": "sim-chat", **arguments})
        return list(result) if arguments.get("stream") else [result]


def new_async(**arguments):
    async def run():
        async with AsyncClient(api_key=arguments.pop("api_key", KEY), base_url=URL) as client:
            result = await client.chat.completions.create(**{"model": "sim-chat", **arguments})
            return [item async for item in result] if arguments.get("stream") else [result]

    return asyncio.run(run())


new = pytest.mark.parametrize("call", [new_sync, new_async], ids=["sync", "async"])


def delta(item):
    return item.choices[0].delta.content or ""


@new
def test_new_plain_reply(call):
    [reply] = call(messages=user('/sim text="Hello there"'))
    assert reply.choices[0].message.content == "Hello there"
    assert reply.choices[0].finish_reason == "stop" and uuid.UUID(reply.request_id)


@new
def test_new_stream(call):
    items = call(messages=user('/sim text="One two 三四 🌊"'), stream=True)
    assert "".join(map(delta, items)) == "One two 三四 🌊"
    assert items[-1].choices[0].finish_reason == "stop"
    assert items[-1].usage.output_tokens == len(items) - 1


@new
def test_new_cumulative(call):
    items = call(messages=user('/sim text="One two three"'), stream=True, incremental_output=False)
    assert delta(items[-1]) == "One two three"


@new
def test_new_thinking(call):
    items = call(model="sim-think", messages=user("hi"), stream=True)
    assert "The user writes" in "".join(item.choices[0].delta.reasoning_content or "" for item in items)
    assert "".join(map(delta, items)).startswith("Hello")


@new
@pytest.mark.parametrize("stream", [False, True])
def test_new_wrong_key(call, stream):
    with pytest.raises(errors.AuthenticationError) as caught:
        call(api_key="sk-invalid", messages=user("hi"), stream=stream)
    assert (caught.value.status_code, caught.value.code) == (401, "InvalidApiKey")
    assert caught.value.request_id


@new
@pytest.mark.parametrize("carrier, status", [("a", 429), ("b", 429), ("c", 200)])
def test_new_too_many_requests(call, carrier, status):
    with pytest.raises(errors.RateLimitError) as caught:
        call(messages=user(f"/sim carrier={carrier} code=Throttling.RateQuota"), stream=True)
    assert (caught.value.status_code, caught.value.code) == (status, "Throttling.RateQuota")


@new
def test_new_retries_until_the_fault_is_over(call):
    [reply] = call(messages=user(f"/sim text=Well status=503 retry_after=0 times=2 {tag()}"))
    assert reply.choices[0].message.content == "Well"


def test_new_error_in_mid_stream():
    deltas = []
    with Client(api_key=KEY, base_url=URL) as client, pytest.raises(errors.ContentFilterError) as caught:
        for item in client.chat.completions.create(
            model="sim-chat", messages=user("/sim tokens=10 error_after=3 code=DataInspectionFailed"), stream=True
        ):
            deltas.append(delta(item))
    assert len(deltas) == 3 and caught.value.code == "DataInspectionFailed"


def test_new_error_in_mid_stream_async():
    deltas = []

    async def run():
        async with AsyncClient(api_key=KEY, base_url=URL) as client:
            async for item in await client.chat.completions.create(
                model="sim-chat", messages=user("/sim tokens=10 error_after=3 code=DataInspectionFailed"), stream=True
            ):
                deltas.append(delta(item))

    with pytest.raises(errors.ContentFilterError):
        asyncio.run(run())
    assert len(deltas) == 3


@new
@pytest.mark.parametrize("switches", ["bytes=1", "split_utf8", "crlf", "group=5", "comments", "done_marker"])
def test_new_harmless_spellings(call, switches):
    items = call(messages=user(f'/sim text="One 二三 🌊 four" {switches}'), stream=True)
    assert "".join(map(delta, items)) == "One 二三 🌊 four"
    assert items[-1].choices[0].finish_reason == "stop"


def test_new_multimodal():
    with Client(api_key=KEY, base_url=URL) as client:
        items = list(client.multimodal.chat.create(model="qwen3-vl-plus", messages=user('/sim text="One two"'), stream=True))
    assert "".join(map(delta, items)) == "One two"


@new
def test_new_cut_connection_is_an_error(call):
    with pytest.raises(Exception, match="peer closed connection|incomplete"):
        call(messages=user("/sim tokens=5 cut_after=2"), stream=True)
