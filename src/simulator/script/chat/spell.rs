//! How engines and services spell the dialect: rows of data.
//!
//! Sources: captures of llama.cpp and vLLM 0.32; the source of SGLang 0.5 and of Ollama; the documentation of Azure,
//! DeepSeek, Moonshot and OpenRouter.

use crate::simulator::script::error::Kind;

pub(super) const INVALID: &str = "invalid_request_error";

/// The spelling of one engine or service.
#[derive(Debug)]
pub struct Spell {
    pub name: &'static str,
    /// `choices` is the first field of a chunk, and a choice begins with its finish reason.
    pub(super) choices_first: bool,
    /// Chunks before the first text: the choices, and fields behind them.
    pub(super) opening: &'static [(&'static str, &'static str)],
    /// The role is in the chunk of the first text.
    pub(super) role_with_text: bool,
    /// Field of the reasoning text.
    pub(super) reasoning: &'static str,
    pub(super) nulls: Nulls,
    /// Fields of every chunk, with a comma before them.
    pub(super) constants: &'static str,
    /// Fields of a choice behind its delta.
    pub(super) choice: &'static str,
    /// Fields of an unfinished choice behind its null.
    pub(super) running: &'static str,
    /// Fields of the finished choice behind the reason.
    pub(super) finished: &'static str,
    /// Fields of the finish chunk behind `choices`.
    pub(super) finish_tail: &'static str,
    /// The finish chunk holds the last piece of text.
    pub(super) ends_with_text: bool,
    pub(super) usage: UsagePlace,
    /// All other chunks have `"usage":null` when usage was requested.
    pub(super) null_usage: bool,
    /// The comment that keeps a connection alive.
    pub(super) keepalive: &'static str,
    /// `[DONE]` follows an error in the stream.
    pub(super) done_after_error: bool,
    /// How an error is reported in the stream.
    pub(in crate::simulator::script) breaks: Break,
    pub(super) error: ErrorShape,
    /// Errors that it words in its own way.
    pub(super) wordings: &'static [Wording],
    /// A request without a key is served.
    pub(super) key_optional: bool,
    pub(super) caps: Caps,
    pub(super) continues: Continues,
    /// Field of the list of models that has the model's context; `n_ctx` stands below `meta`, empty is none.
    pub(super) name_of_context: &'static str,
}

/// An error as one engine words it: status, `type`, `param`, `code` and message; empty for null.
#[derive(Debug)]
pub(super) struct Wording(
    pub(super) Kind,
    pub(super) u16,
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static str,
    pub(super) &'static str,
);

/// What stands in a chunk for the text that it has none of: of reasoning and answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nulls {
    Never,
    /// While and after the model reasons.
    Thinking,
    Always,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum UsagePlace {
    /// On a chunk of its own, when requested.
    OwnChunk,
    /// On the finish chunk.
    FinishChunk,
    /// In the choice of the finish chunk.
    Choice,
}

/// How an answer that was begun is reported to have failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// A payload with an `error` object.
    Object,
    /// The same as an event named `error`.
    Event,
    /// An `error` object beside a choice that finished with `error`.
    Choice,
    /// A field of the event stream that is named `error`.
    Field,
    /// `error_finish`, with the message as text.
    Finish,
    /// `abort`, then `[DONE]`.
    Abort,
    /// DashScope's native code and message.
    Flat,
    /// A flat object of the kind `error`.
    FlatObject,
    /// A chunk with empty text, then the end without `[DONE]`.
    Silent,
}

/// The JSON of an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ErrorShape {
    /// Message, type, parameter, code.
    Nested,
    /// The same; the code is the status.
    StatusCode,
    /// llama.cpp: code (the status), message, type.
    CodeFirst,
    /// SGLang: not nested, the code is the status.
    Flat,
    /// Ollama: code null.
    NullCode,
    /// Azure: code and message, the code of a status in digits.
    Digits,
    /// OpenRouter: code (the status), message, metadata.
    Metadata,
}

/// Fields that bound an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Caps {
    Both,
    /// `max_tokens` is refused.
    OnlyCompletion,
    /// `max_completion_tokens` is dropped without a word.
    OnlyPlain,
}

/// How a request says that the last message is to be continued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Continues {
    No,
    /// By this field of the message.
    MessageField(&'static str),
    /// By `continue_final_message` of the request.
    RequestField,
    /// By the role of the message.
    Last,
}

/// The plain form: what OpenAI's SDK is satisfied with.
const PLAIN: Spell = Spell {
    name: "plain",
    choices_first: false,
    opening: &[(
        r#"[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]"#,
        "",
    )],
    role_with_text: false,
    reasoning: "reasoning_content",
    nulls: Nulls::Never,
    constants: "",
    choice: r#","logprobs":null"#,
    running: "",
    finished: "",
    finish_tail: "",
    ends_with_text: false,
    usage: UsagePlace::OwnChunk,
    null_usage: true,
    keepalive: ": keep-alive\n\n",
    done_after_error: false,
    breaks: Break::Object,
    error: ErrorShape::Nested,
    wordings: &[],
    key_optional: false,
    caps: Caps::Both,
    continues: Continues::MessageField("partial"),
    name_of_context: "",
};

/// Every spelling; the first is the default.
pub(in crate::simulator::script) static SPELLS: [Spell; 9] = [
    PLAIN,
    Spell {
        name: "llamacpp",
        choices_first: true,
        opening: &[(r#"[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}]"#, "")],
        constants: r#","system_fingerprint":"b0-unknown""#,
        choice: "",
        finish_tail: r#","timings":{"cache_n":0,"prompt_n":9,"prompt_ms":14.714,"predicted_n":6,"predicted_ms":91.488}"#,
        null_usage: false,
        keepalive: ":\n\n",
        error: ErrorShape::CodeFirst,
        wordings: &[
            Wording(
                Kind::Image,
                500,
                "server_error",
                "",
                "",
                "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj",
            ),
            Wording(
                Kind::TooLong,
                400,
                "exceed_context_size_error",
                "",
                "",
                "request (98305 tokens) exceeds the available context size (98304 tokens), try increasing it",
            ),
            Wording(Kind::Key, 401, "authentication_error", "", "", "Invalid API Key"),
            Wording(Kind::Path, 404, "not_found_error", "", "", "File Not Found"),
        ],
        key_optional: true,
        continues: Continues::Last,
        name_of_context: "n_ctx",
        ..PLAIN
    },
    Spell {
        name: "vllm",
        opening: &[(
            r#"[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]"#,
            r#","prompt_token_ids":null,"prompt_text":null"#,
        )],
        reasoning: "reasoning",
        running: r#","token_ids":null"#,
        finished: r#","stop_reason":null,"token_ids":null"#,
        ends_with_text: true,
        null_usage: false,
        done_after_error: true,
        error: ErrorShape::StatusCode,
        wordings: &[
            Wording(
                Kind::TooLong,
                400,
                "BadRequestError",
                "input_tokens",
                "",
                "This model's maximum context length is 98304 tokens. Please reduce the length of the input prompt. (parameter=input_tokens, value=98305)",
            ),
            Wording(
                Kind::Cap,
                400,
                "BadRequestError",
                "max_tokens",
                "",
                "max_tokens=99999 cannot be greater than max_model_len=98304.",
            ),
            Wording(Kind::Image, 400, "BadRequestError", "", "", "tiny is not a multimodal model"),
            Wording(Kind::Model, 404, "NotFoundError", "model", "", "The model does not exist."),
            Wording(
                Kind::Full,
                503,
                "ServiceUnavailableError",
                "",
                "",
                "The server is currently busy and cannot accept new requests.",
            ),
        ],
        key_optional: true,
        continues: Continues::RequestField,
        name_of_context: "max_model_len",
        ..PLAIN
    },
    Spell {
        name: "sglang",
        opening: &[(
            r#"[{"index":0,"delta":{"role":"assistant","content":"","reasoning_content":null,"tool_calls":null},"logprobs":null,"finish_reason":null,"matched_stop":null}]"#,
            "",
        )],
        nulls: Nulls::Always,
        running: r#","matched_stop":null"#,
        finished: r#","matched_stop":151645"#,
        null_usage: false,
        done_after_error: true,
        breaks: Break::FlatObject,
        error: ErrorShape::Flat,
        key_optional: true,
        continues: Continues::RequestField,
        name_of_context: "max_model_len",
        ..PLAIN
    },
    Spell {
        name: "ollama",
        opening: &[],
        role_with_text: true,
        reasoning: "reasoning",
        constants: r#","system_fingerprint":"fp_ollama""#,
        choice: "",
        null_usage: false,
        breaks: Break::Silent,
        error: ErrorShape::NullCode,
        wordings: &[
            Wording(Kind::Model, 404, "not_found_error", "", "", "model not found, try pulling it first"),
            Wording(Kind::Image, 400, "invalid_request_error", "", "", "invalid image input"),
            Wording(Kind::Fault, 500, "api_error", "", "", "llama runner process has terminated"),
        ],
        key_optional: true,
        caps: Caps::OnlyPlain,
        continues: Continues::No,
        ..PLAIN
    },
    Spell {
        name: "azure",
        opening: &[
            (
                "[]",
                r#","prompt_filter_results":[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]"#,
            ),
            (
                r#"[{"index":0,"delta":{"role":"assistant","content":"","refusal":null},"logprobs":null,"finish_reason":null,"content_filter_results":{}}]"#,
                "",
            ),
        ],
        constants: r#","system_fingerprint":"fp_sim","service_tier":"default""#,
        choice: r#","logprobs":null,"content_filter_results":{}"#,
        error: ErrorShape::Digits,
        wordings: &[
            Wording(
                Kind::Model,
                404,
                "",
                "",
                "DeploymentNotFound",
                "The API deployment for this resource does not exist.",
            ),
            Wording(
                Kind::Filter,
                400,
                "",
                "prompt",
                "content_filter",
                "The response was filtered due to the prompt triggering content management policy.",
            ),
            Wording(
                Kind::Rate,
                429,
                "",
                "",
                "",
                "Requests have exceeded the call rate limit of your current pricing tier.",
            ),
        ],
        caps: Caps::OnlyCompletion,
        continues: Continues::No,
        ..PLAIN
    },
    Spell {
        name: "deepseek",
        wordings: &[
            Wording(Kind::Money, 402, "unknown_error", "", "invalid_request_error", "Insufficient Balance"),
            Wording(Kind::Filter, 400, INVALID, "", "invalid_request_error", "Content Exists Risk"),
        ],
        nulls: Nulls::Thinking,
        constants: r#","system_fingerprint":"fp_sim_prod""#,
        usage: UsagePlace::FinishChunk,
        continues: Continues::MessageField("prefix"),
        ..PLAIN
    },
    Spell {
        name: "moonshot",
        wordings: &[
            Wording(
                Kind::Money,
                429,
                "exceeded_current_quota_error",
                "",
                "",
                "Your account is suspended, please check your plan and billing details",
            ),
            Wording(Kind::Rate, 429, "rate_limit_reached_error", "", "", "Your account reached max request"),
            Wording(
                Kind::Full,
                429,
                "engine_overloaded_error",
                "",
                "",
                "The engine is currently overloaded, please try again later",
            ),
            Wording(
                Kind::TooLong,
                400,
                INVALID,
                "",
                "",
                "Invalid request: Your request exceeded model token limit: 98304",
            ),
        ],
        nulls: Nulls::Thinking,
        constants: r#","system_fingerprint":"fpv0_sim""#,
        choice: "",
        usage: UsagePlace::Choice,
        null_usage: false,
        ..PLAIN
    },
    Spell {
        name: "openrouter",
        opening: &[],
        role_with_text: true,
        reasoning: "reasoning",
        constants: r#","provider":"Simulator""#,
        finished: r#","native_finish_reason":"stop""#,
        keepalive: ": OPENROUTER PROCESSING\n\n",
        breaks: Break::Choice,
        error: ErrorShape::Metadata,
        wordings: &[
            Wording(Kind::Money, 402, "", "", "", "Insufficient credits"),
            Wording(Kind::Full, 503, "", "", "", "No instances available"),
            Wording(Kind::Fault, 502, "", "", "", "Provider returned error"),
        ],
        continues: Continues::No,
        ..PLAIN
    },
];

impl Spell {
    /// The default.
    pub fn plain() -> &'static Spell {
        &SPELLS[0]
    }

    /// The spelling of this name.
    pub fn find(name: &str) -> Option<&'static Spell> {
        SPELLS.iter().find(|spell| spell.name == name)
    }

    /// The names of all spellings.
    pub fn names() -> String {
        SPELLS.each_ref().map(|spell| spell.name).join(", ")
    }

    /// Whether a request without a key is served.
    pub fn key_optional(&self) -> bool {
        self.key_optional
    }
}
