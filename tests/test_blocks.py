"""What providers say when a filter stops a call, from their documentation and users' reports."""

import json
from typing import Any

import pytest

from hiddenrisk.errors import CallError
from hiddenrisk.models import anthropic, responses
from hiddenrisk.models.blocks import fields_of
from hiddenrisk.models.http import payload
from hiddenrisk.models.refusals import read_error
from hiddenrisk.models.wire import Stream, read_completion
from hiddenrisk.types import Finish, Reply

IN, OUT = Finish.BLOCKED_ON_INPUT, Finish.BLOCKED_ON_OUTPUT


def _error(message: str, code: str | int | None = None, **more: object) -> dict[str, Any]:
    return {"error": {"message": message, "code": code, **more}}


_AZURE = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management "
    "policy. Please modify your prompt and retry."
)
_ZAI = "系统检测到输入或生成内容可能包含不安全或敏感内容"
_XAI = {
    "code": "The caller does not have permission to execute the specified operation",
    "error": "Content violates usage guidelines. Team: t, API key ID: k, Model: grok-4, "
    "Failed check: SAFETY_CHECK_TYPE_BIO",
}
_RAW = json.dumps(_error("Content Exists Risk", "invalid_request_error"))
_BLOCKS: dict[str, tuple[int, object, Finish]] = {
    "OpenAI, reasoning models": (
        400,
        _error(
            "Invalid prompt: your prompt was flagged as potentially violating our usage policy.",
            "invalid_prompt",
            type="invalid_request_error",
        ),
        IN,
    ),
    "OpenAI, model-level": (
        400,
        _error(
            "Invalid prompt: we've limited access to this content for safety reasons.",
            "invalid_prompt",
        ),
        IN,
    ),
    "OpenAI, policy": (400, _error("no", "content_policy_violation"), IN),
    "OpenAI, images": (
        400,
        _error("Your request was rejected as a result of our safety system.", type="x"),
        IN,
    ),
    "Azure": (
        400,
        _error(
            _AZURE,
            "content_filter",
            status=400,
            innererror={
                "code": "ResponsibleAIPolicyViolation",
                "content_filter_result": {"violence": {"filtered": True, "severity": "medium"}},
            },
        ),
        IN,
    ),
    "Azure, inner code alone": (
        400,
        _error("no", "400", innererror={"code": "ResponsibleAIPolicyViolation"}),
        IN,
    ),
    "Azure, Responses API": (
        400,
        _error(
            "The response was filtered",
            "content_filter",
            content_filters=[
                {"blocked": False, "source_type": "completion"},
                {"blocked": True, "source_type": "prompt"},
            ],
        ),
        IN,
    ),
    "Azure, Responses API, output": (
        400,
        _error("no", "content_filter", content_filters=[{"blocked": True, "source_type": "completion"}]),
        OUT,
    ),
    "Anthropic": (
        400,
        _error("Output blocked by content filtering policy", type="invalid_request_error"),
        OUT,
    ),
    "OpenRouter": (
        403,
        _error(
            "m requires moderation on OpenRouter. Your input was flagged for \"x\".",
            403,
            metadata={"reasons": ["x"], "flagged_input": "...", "provider_name": "p"},
        ),
        IN,
    ),
    "OpenRouter, reasons alone": (403, _error("Forbidden", 403, metadata={"reasons": ["x"]}), IN),
    "OpenRouter, the provider's error inside": (
        400,
        _error("Provider returned error", 400, metadata={"raw": _RAW, "provider_name": "p"}),
        IN,
    ),
    "OpenRouter, the provider's words inside": (
        400,
        _error("Provider returned error", 400, metadata={"raw": "inappropriate content"}),
        IN,
    ),
    "DeepSeek": (400, _error("Content Exists Risk", "invalid_request_error"), IN),
    "DeepSeek, older": (400, {"detail": "Content Exists Risk"}, IN),
    "Alibaba": (
        400,
        _error(
            "Input data may contain inappropriate content.",
            "data_inspection_failed",
            type="data_inspection_failed",
        ),
        IN,
    ),
    "Alibaba, output": (
        400,
        _error("Output data may contain inappropriate content.", "data_inspection_failed"),
        OUT,
    ),
    "Alibaba, either": (
        400,
        _error("Input or output data may contain inappropriate content.", "DataInspectionFailed"),
        IN,
    ),
    "Alibaba, native": (
        400,
        {"code": "DataInspectionFailed", "message": "Output data may contain x.", "request_id": "r"},
        OUT,
    ),
    "Alibaba, in words": (
        400,
        _error(
            "<400> InternalError.Algo.DataInspectionFailed: Input text data may contain "
            "inappropriate content.",
            "invalid_parameter_error",
        ),
        IN,
    ),
    "Z.ai": (400, _error(_ZAI, "1301"), IN),
    "Z.ai, of the user": (
        400,
        _error(_ZAI, "1301", contentFilter=[{"level": 1, "role": "user"}]),
        IN,
    ),
    "Z.ai, of the assistant": (
        400,
        _error(_ZAI, "1301", contentFilter=[{"level": 1, "role": "assistant"}]),
        OUT,
    ),
    "xAI": (403, _XAI, IN),
    "xAI, newer": (
        403,
        {"code": "permission-denied", "error": "Content violates usage guidelines. "},
        IN,
    ),
    "Moonshot": (
        400,
        _error("The request was rejected because it was considered high risk", type="content_filter"),
        IN,
    ),
    "Xiaomi": (421, _error("Moderation Block", "421", type="content_filter"), IN),
    "Mistral": (403, {"object": "error", "message": "Blocked by guardrail: moderation"}, IN),
    "Gemini, in a list": (400, [_error("The prompt could not be submitted: blockReason SAFETY")], IN),
    "a gateway": (403, {"code": "sensitive_word_detected", "type": "security_violation"}, IN),
    "litellm": (
        400,
        _error(f"litellm.ContentPolicyViolationError: AzureException - {_AZURE}", "400"),
        IN,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", _BLOCKS)
def test_a_block_that_comes_as_an_error_is_told_with_its_side(name: str) -> None:
    status, body, side = _BLOCKS[name]
    reply = read_error(status, json.dumps(body).encode(), None)
    assert (reply.answer, reply.thinking, reply.finish) == (None, None, side)
    assert json.loads(bytes(reply.raw)) == body


_OTHERS: dict[str, tuple[int, object]] = {
    "a filter that failed": (400, _error("The contents are not filtered", "content_filter_error")),
    "a filter that is down": (503, _error("The content filter is down", "content_filter")),
    "a filter that is down, as a bad request": (400, _error("The content filter is down")),
    "a parameter": (400, _error("Unknown parameter: 'content_filter'.", "unknown_parameter")),
    "a parameter, in words": (400, _error("Unrecognized request argument: safety_check")),
    "a model that does not chat": (
        400,
        _error("The model `omni-moderation-latest` does not support chat completions."),
    ),
    "a malformed prompt": (400, _error("Missing required parameter: 'model'.", "invalid_prompt")),
    "a malformed request": (400, _error("Invalid Responses API request", "invalid_prompt")),
    "an account": (
        403,
        _error("Your account has been suspended for violating our usage policies."),
    ),
    "an organisation": (403, _error("Organization x is restricted by our content policy")),
    "no access": (
        403,
        {"code": "permission-denied", "error": "Access to the chat endpoint is denied"},
    ),
    "no reasons": (403, _error("Forbidden", 403, metadata={"reasons": []})),
    "privacy": (404, _error("No endpoints found matching your data policy", 404)),
    "a rate": (429, _error("flagged as too many requests", "rate_limit_exceeded")),
    "a context": (400, _error("This model's maximum context length is 8192 tokens.")),
    "a number of their own": (400, _error("busy", "1302")),
    "a provider's other error inside": (
        400,
        _error("Provider returned error", 400, metadata={"raw": '{"error": {"message": "bad"}}'}),
    ),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_an_ordinary_error_is_never_a_block(name: str) -> None:
    status, body = _OTHERS[name]
    with pytest.raises(CallError, match=f"HTTP {status}"):
        read_error(status, json.dumps(body).encode(), None)


@pytest.mark.parametrize("name", [n for n in _BLOCKS if "list" not in n])
def test_an_error_inside_a_stream_is_of_the_output_once_there_is_some(name: str) -> None:
    _, body, side = _BLOCKS[name]
    body = body if "error" in fields_of(body) else {"error": body}
    error = b"data: " + json.dumps(body).encode() + b"\n"
    assert _streamed(error).finish is side
    for field in ("content", "reasoning_content"):
        chunk = {"choices": [{"delta": {field: "half"}}]}
        reply = _streamed(b"data: " + json.dumps(chunk).encode(), error)
        assert reply.finish is OUT
        assert "half" in {reply.answer, reply.thinking}, "what came is kept"
        assert read_completion(bytes(reply.raw)).finish is OUT
    assert read_completion(json.dumps(body).encode()).finish is side


def _streamed(*lines: bytes) -> Reply:
    stream = Stream()
    for line in lines:
        stream.feed(line)
    return stream.reply()


# ---------------------------------------------------------------- bodies without a choice

_BLOCKED_PROMPT = {"promptFeedback": {"blockReason": "PROHIBITED_CONTENT"}, "modelVersion": "g"}
_NATIVE: list[tuple[dict[str, Any], str | None, Finish]] = [
    (_BLOCKED_PROMPT, None, IN),
    ({"prompt_feedback": {"block_reason": "SAFETY"}}, None, IN),
    ({"choices": [], **_BLOCKED_PROMPT}, None, IN),
    ({"choices": None, **_BLOCKED_PROMPT}, None, IN),
    ({"promptFeedback": {"safetyRatings": [{"category": "c", "blocked": True}]}}, None, IN),
    ({"candidates": [{"finishReason": "SAFETY", "index": 0}]}, None, OUT),
    ({"candidates": [{"finishReason": "PROHIBITED_CONTENT"}]}, None, OUT),
    (
        {"candidates": [{"content": {"parts": [{"text": "A be"}]}, "finishReason": "SPII"}]},
        "A be",
        OUT,
    ),
    (
        {"candidates": [{"finishReason": "STOP", "safetyRatings": [{"blocked": True}]}]},
        None,
        OUT,
    ),
    (
        {"candidates": [{"content": {"parts": [{"text": "A"}]}, "finishReason": "STOP"}]},
        "A",
        Finish.COMPLETE,
    ),
]  # fmt: skip


@pytest.mark.parametrize(("body", "answer", "finish"), _NATIVE)
def test_gemini_s_own_shapes_tell_a_block(
    body: dict[str, Any], answer: str | None, finish: Finish
) -> None:
    reply = read_completion(json.dumps(body).encode())
    assert (reply.answer, reply.finish) == (answer, finish)
    streamed = _streamed(b"data: " + json.dumps(body).encode())
    assert (streamed.answer, streamed.finish) == (answer, finish)


@pytest.mark.parametrize(
    "body",
    [
        {"promptFeedback": {}},
        {"promptFeedback": {"blockReason": "BLOCK_REASON_UNSPECIFIED"}},
        {"promptFeedback": {"safetyRatings": [{"category": "c", "blocked": False}]}},
        {"prompt_filter_results": [{"content_filter_results": {"hate": {"filtered": False}}}]},
        {"candidates": []},
        {"candidates": "x", "promptFeedback": 7},
    ],
)
def test_a_body_without_a_choice_or_a_block_heals(body: object) -> None:
    with pytest.raises(CallError, match="no choice") as caught:
        read_completion(json.dumps(body).encode())
    assert caught.value.heals


# ---------------------------------------------------------------- the other APIs


def test_a_guardrail_of_bedrock_speaks_for_the_model() -> None:
    message: dict[str, Any] = {
        "content": [{"type": "text", "text": "Blocked."}],
        "stop_reason": "end_turn",
        "amazon-bedrock-guardrailAction": "INTERVENED",
    }
    reply = anthropic.read_message(*payload(json.dumps(message).encode()), "claude-3-7")
    assert (reply.answer, reply.finish) == ("Blocked.", OUT)
    message["amazon-bedrock-guardrailAction"] = "NONE"
    reply = anthropic.read_message(*payload(json.dumps(message).encode()), "claude-3-7")
    assert reply.finish is Finish.COMPLETE


@pytest.mark.parametrize(
    ("source", "output", "finish"),
    [
        ("prompt", [], IN),
        ("completion", [], OUT),
        ("prompt", ["A"], Finish.COMPLETE),
        ("completion", ["A"], OUT),
    ],
)
def test_azure_s_responses_name_the_side_that_was_filtered(
    source: str, output: list[str], finish: Finish
) -> None:
    said = [{"type": "output_text", "text": text} for text in output]
    body = {
        "status": "completed",
        "output": [{"type": "message", "content": said}],
        "content_filters": [
            {"blocked": False, "source_type": "prompt"},
            {"blocked": True, "source_type": source},
        ],
    }
    reply = responses.read_response(*payload(json.dumps(body).encode()))
    assert reply.finish is finish
