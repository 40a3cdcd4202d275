//! The fuzz bodies on every run: the corpus, then random inputs from a seed that a failure prints.
#[path = "../fuzz/bodies/mod.rs"]
mod bodies;

use std::{
    fs,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
};

/// Random inputs of a target whose body takes microseconds; of one that takes many times as long, a part of them.
/// `FUZZ_INPUTS=1000000` sets the number of random inputs of each body, `FUZZ_SEED=…` repeats a run.
const INPUTS: u64 = 100_000;
/// An input that has grown longer is cut, so that mutations of mutations do not grow for ever.
const BYTES_MAX: usize = 4096;

type Body = fn(&[u8]);

/// A target: what is fuzzed, and the words of its wire.
struct Target {
    name: &'static str,
    body: Body,
    words: &'static [&'static [u8]],
    inputs: u64,
}

#[test]
fn event_streams() {
    Target {
        name: "sse",
        inputs: INPUTS,
        body: bodies::sse::run,
        words: &[b"data:", b"id", b":", b": ", b"\n", b"\r\n", b"\r", b"\n\n", b"\xef\xbb\xbf", b"\0"],
    }
    .attack();
}

// faults: E65, E76, E77, E78, E80
#[test]
fn answers_of_the_model_service() {
    Target {
        name: "dashscope",
        inputs: INPUTS / 2,
        body: bodies::dashscope::run,
        words: &[
            b"data:",
            b"\n\n",
            b"\n",
            b"id:1\n",
            b"event:error\n",
            b":HTTP_STATUS/400\n",
            b"\"finish_reason\":\"stop\"",
            b"\"finish_reason\":\"null\"",
            b"\"length\"",
            b"\"code\":\"Throttling\"",
            b"[DONE]",
            b"\\ud83d",
            b"\xe4\xbd",
            b"{",
            b"}",
            b"[",
            b"]",
            b"\"",
            b"data:{\"output\":{\"text\":\"ab\"}}\n",
            b"data:{\"output\":{\"text\":\"abc\",\"finish_reason\":\"stop\"}}\n",
            b"data:{\"output\":{\"choices\":[{\"message\":{\"content\":\"x\"}}]}}\n\n",
        ],
    }
    .attack();
}

#[test]
fn answers_with_chat_completions() {
    Target {
        name: "chat",
        inputs: INPUTS / 2,
        body: bodies::chat::run,
        words: &[
            b"data: ",
            b"\n\n",
            b"\n",
            b": keep-alive\n\n",
            b"event: error\n",
            b"error: {}\n",
            b"data: [DONE]\n\n",
            b"\"finish_reason\":\"stop\"",
            b"\"finish_reason\":\"abort\"",
            b"\"finish_reason\":null",
            b"\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}",
            b"\"reasoning\":\"x\"",
            b"\"created\":1763800000",
            b"\"index\":1",
            b"\\ud83d",
            b"\xe4\xbd",
            b"{",
            b"}",
            b"[",
            b"]",
            b"\"",
            b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n",
            b"data: {\"error\":{\"message\":\"x\"}}\n\n",
        ],
    }
    .attack();
}

// faults: A6, A7, A8, A9
#[test]
fn bytes_of_a_client() {
    Target {
        name: "websocket",
        inputs: INPUTS,
        body: bodies::websocket::run,
        words: &[
            b"\x81\x81\0\0\0\0a",
            b"\x01\x80\0\0\0\0",
            b"\0\x81\0\0\0\0\xbd",
            b"\x80\x80\0\0\0\0",
            b"\x89\x80\0\0\0\0",
            b"\x88\x82\0\0\0\0\x03\xe8",
            b"\x82\xfe\x01\0\0\0\0\0",
            b"\x82\xff\0\0\0\0\0\x01\0\0",
            b"\xe4\xbd\xa0",
            b"\xed\xa0",
        ],
    }
    .attack();
}

// faults: A11
#[test]
fn frames_of_a_chat_client() {
    Target {
        name: "ai_sdk",
        inputs: INPUTS,
        body: bodies::ai_sdk::run,
        words: &[
            b"\"requestId\":\"r1\",",
            b"\"type\":",
            b"\"send\"",
            b"\"abort\"",
            b"\"text\"",
            b"\"role\":\"system\",",
            b"\"messages\":[",
            b"\"parts\":[",
            b"\"lastSequence\":1e999,",
            b"\"\\u0074ype\":",
            b"\\ud800",
            b"null",
            b"-1",
            b"[[[[[[[[",
            b"{",
            b"}",
            b"]",
            b",",
            b":",
            b"\"",
        ],
    }
    .attack();
}

// faults: H108
#[test]
fn configurations() {
    Target {
        name: "config",
        inputs: INPUTS / 4,
        body: bodies::config::run,
        words: &[
            b"[server]\n",
            b"[connection]\n",
            b"[limits]\n",
            b"[upstream]\n",
            b"listen",
            b"ping",
            b"silence",
            b"origins",
            b" = ",
            b"=",
            b"\"",
            b"[\"*\"]",
            b"\"5s\"",
            b"64KiB",
            b"true",
            b"-1",
            b"99999999999999999999",
            b"\xff",
            b"\n",
            b"TIDEGATE_LISTEN=",
            b"TIDEGATE_CONNECTION__PING_INTERVAL=1s\n",
            b"API_KEY=",
            b"server.trusted_proxies=::/0\n",
            b"http://[::1]:80/",
        ],
    }
    .attack();
}

// faults: A13, E86
#[test]
fn any_order_of_inputs_to_a_session() {
    Target {
        name: "session",
        inputs: INPUTS / 2,
        body: bodies::session::run,
        words: &[b"\0\0\x01", b"\x08\0\x04", b"\x12\0", b"\x18\0"],
    }
    .attack();
}

impl Target {
    fn attack(&self) {
        let corpus = self.corpus();
        assert!(corpus.len() > 5, "{} has a corpus", self.name);
        for (name, input) in &corpus {
            self.check(&format!("corpus file {name}"), input);
        }
        let seed = setting("FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
        let mut random = fastrand::Rng::with_seed(seed);
        for number in 0..setting("FUZZ_INPUTS").unwrap_or(self.inputs) {
            let input = self.input(&mut random, &corpus);
            self.check(&format!("input {number} of FUZZ_SEED={seed}"), &input);
        }
    }

    fn folder(&self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(self.name)
    }

    fn corpus(&self) -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(self.folder()).unwrap().map(|entry| entry.unwrap().path());
        let mut corpus: Vec<_> = entries
            .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap()))
            .collect();
        corpus.sort();
        corpus
    }

    fn check(&self, what: &str, input: &[u8]) {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| (self.body)(input))) {
            let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{}", self.name));
            fs::write(&file, input).unwrap();
            eprintln!("{}: {what} broke it; it is in {}", self.name, file.display());
            std::panic::resume_unwind(panic);
        }
    }

    /// Half of the inputs are a seed of the corpus, changed; the others are noise, which the bodies' own
    /// grammars make something of.
    fn input(&self, random: &mut fastrand::Rng, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut input = if random.bool() {
            let mut input = random.choice(corpus).map(|(_, input)| input.clone()).unwrap_or_default();
            for _ in 0..random.usize(1..6) {
                self.mutate(random, &mut input, corpus);
            }
            input
        } else {
            let length = random.usize(0..160);
            std::iter::repeat_with(|| random.u8(..)).take(length).collect()
        };
        input.truncate(BYTES_MAX);
        input
    }

    fn mutate(&self, random: &mut fastrand::Rng, input: &mut Vec<u8>, corpus: &[(String, Vec<u8>)]) {
        let at = random.usize(0..=input.len());
        let to = (at + random.usize(0..=(input.len() - at).min(40))).min(input.len());
        match random.u8(0..7) {
            0 if at < input.len() => input[at] ^= 1 << random.u8(0..8),
            1 if at < input.len() => input[at] = random.u8(..),
            2 => drop(input.drain(at..to)),
            3 => {
                let copy = input[at..to].to_vec();
                input.splice(at..at, copy);
            }
            4 => input.truncate(at),
            5 => {
                // The rest of another one.
                let Some((_, other)) = random.choice(corpus) else { return };
                let from = random.usize(0..=other.len());
                input.truncate(at);
                input.extend_from_slice(&other[from..]);
            }
            _ => {
                let word = random.choice(self.words).copied().unwrap_or_default();
                input.splice(at..at, word.iter().copied());
            }
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "for people who want a longer run")]
fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().expect("a number"))
}
