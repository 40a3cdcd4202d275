"""What a user of the official OpenAI SDK sees when it talks to the simulator's chat dialect.

Run as `test_dashscope_sdk`; the address is that of SIMULATOR_URL, with `/v1`.
"""

import asyncio
import os
import uuid
from urllib.parse import urlsplit

import pytest

URL = os.environ.get("SIMULATOR_URL")
if not URL:
    pytest.skip("SIMULATOR_URL is not set", allow_module_level=True)

import openai  # noqa: E402

BASE = f"http://{urlsplit(URL).netloc}/v1"


def client(key="sk-test", retries=0):
    return openai.OpenAI(api_key=key, base_url=BASE, max_retries=retries)


def ask(text, key="sk-test", retries=0, model="sim-chat", **more):
    messages = [{"role": "user", "content": text}]
    return client(key, retries).chat.completions.create(model=model, messages=messages, **more)


def stream(text, **more):
    return list(ask(text, stream=True, stream_options={"include_usage": True}, **more))


def words(chunks):
    return "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)


SPELLS = ["plain", "llamacpp", "vllm", "sglang", "ollama", "azure", "deepseek", "moonshot", "openrouter"]


def test_plain_reply():
    reply = ask('/sim text="Hello there"')
    assert reply.choices[0].message.content == "Hello there"
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


@pytest.mark.parametrize("spell", SPELLS)
def test_stream_thinking_and_usage_in_every_spelling(spell):
    chunks = stream(f'/sim text="One two 三四 🌊" think=2 seed=1 spell={spell}')
    assert words(chunks) == "One two 三四 🌊"
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    field = "reasoning" if spell in ("vllm", "ollama", "openrouter") else "reasoning_content"
    thoughts = [getattr(chunk.choices[0].delta, field, None) for chunk in chunks if chunk.choices]
    assert len([thought for thought in thoughts if thought]) == 2
    assert len({chunk.id for chunk in chunks}) == 1
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    if spell == "moonshot":
        usages = [chunk.choices[0].usage for chunk in chunks if getattr(chunk.choices[0], "usage", None)]
        assert usages[0]["completion_tokens"] == 7
    else:
        assert usages[0].completion_tokens == 7
    assert len(usages) == 1


def test_stream_with_asyncio():
    async def run():
        async with openai.AsyncOpenAI(api_key="sk-test", base_url=BASE, max_retries=0) as sdk:
            messages = [{"role": "user", "content": "/sim text=Hi"}]
            chunks = await sdk.chat.completions.create(model="sim-chat", messages=messages, stream=True)
            return [chunk async for chunk in chunks]

    chunks = asyncio.run(run())
    assert words(chunks) == "Hi" and all(chunk.usage is None for chunk in chunks)


def test_list_of_models():
    assert [model.id for model in client().models.list()] == ["sim-chat", "sim-echo", "sim-think"]


@pytest.mark.parametrize(
    "kind, error, status, code",
    [
        ("too_long", openai.BadRequestError, 400, "context_length_exceeded"),
        ("filter", openai.BadRequestError, 400, "content_policy_violation"),
        ("key", openai.AuthenticationError, 401, "invalid_api_key"),
        ("rights", openai.PermissionDeniedError, 403, "access_denied"),
        ("model", openai.NotFoundError, 404, "model_not_found"),
        ("rate", openai.RateLimitError, 429, "rate_limit_exceeded"),
        ("money", openai.RateLimitError, 429, "insufficient_quota"),
        ("fault", openai.InternalServerError, 500, None),
        ("full", openai.InternalServerError, 503, None),
        ("loading", openai.InternalServerError, 503, None),
    ],
)
def test_errors_before_the_stream(kind, error, status, code):
    with pytest.raises(error) as caught:
        stream(f"/sim error={kind}")
    assert (caught.value.status_code, caught.value.code) == (status, code)


def test_keys():
    for key, error in [
        ("sk-invalid", openai.AuthenticationError),
        ("sk-poor", openai.RateLimitError),
        ("sk-limited-1", openai.RateLimitError),
        ("sk-only-sim-think-1", openai.PermissionDeniedError),
    ]:
        with pytest.raises(error):
            ask("hi", key=key)


def test_the_sdk_asks_again_when_it_was_told():
    message = f"/sim text=ok error=rate retry_after_ms=50 times=1 tag={uuid.uuid4().hex}"
    assert words(stream(message, retries=1)) == "ok"


@pytest.mark.parametrize("shape", ["object", "event", "choice"])
def test_errors_in_the_stream_that_the_sdk_raises(shape):
    with pytest.raises(openai.APIError):
        stream(f'/sim text="a b" error_after=1 break={shape}')


@pytest.mark.parametrize("shape", ["field", "finish", "abort", "flat", "flat_object", "silent"])
def test_errors_in_the_stream_that_pass_the_sdk_unseen(shape):
    chunks = stream(f'/sim text="a b" error_after=1 break={shape}')
    assert "stop" not in [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]


def test_a_cut_is_a_connection_error():
    with pytest.raises(openai.APIConnectionError):
        stream("/sim tokens=9 cut_after=2")
