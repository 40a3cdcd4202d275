//! Sockets that are cut at random, thousands of times: whatever is put together afterwards is the answer,
//! byte for byte. `CUTS=10000 cargo test --test it cuts::` is the long form; `CUT_SEED=…` repeats a plan.
use crate::harness::{Answer, Chats, End, Gateway, ask_with};
use fastrand::Rng;
use std::{collections::BTreeMap, net::SocketAddr, time::Duration};
use tidegate::simulator::script::Expected;
use tokio::{io::AsyncWriteExt, task::JoinHandle, time::Instant};

const CUTS: usize = 500;
/// Conversations at the same time.
const CHATS: usize = 40;
const WAYS: [&str; 7] = ["reset", "fin", "close", "half", "silent", "tab", "drop"];

/// One conversation that is cut again and again.
struct Cutter {
    gateway: SocketAddr,
    random: Rng,
    chat: String,
    cookie: String,
    requests: usize,
    /// Sockets that are neither read nor closed.
    silent: Vec<Chats>,
    /// Those that read on.
    tabs: Vec<JoinHandle<Answer>>,
    cuts: BTreeMap<&'static str, usize>,
    turns: usize,
    attached: Instant,
}

impl Cutter {
    fn request(&mut self) -> String {
        self.requests += 1;
        format!("{}-r{}", self.chat, self.requests)
    }

    async fn connect(&mut self) -> Chats {
        // A session may be attached to ten times in a second.
        let next = self.attached + Duration::from_millis(110);
        tokio::time::sleep_until(next).await;
        self.attached = Instant::now();
        let socket = match self.random.bool() {
            true => Chats::connect_narrow(self.gateway, &self.cookie).await,
            false => Chats::connect_as(self.gateway, &self.cookie).await,
        };
        socket.cookie.clone_into(&mut self.cookie);
        socket
    }

    /// One question and its answer, over as many sockets as it takes.
    async fn turn(&mut self) {
        self.turns += 1;
        let think = if self.random.bool() { " think=5" } else { "" };
        // At a person's pace, or so fast that readers are behind.
        let (tokens, form) = match self.random.u8(0..4) {
            0 => (self.random.u32(500..2000), "word_len=40 pace_ms=0"),
            _ => (self.random.u32(50..400), "pace_ms=4 alphabet=mixed"),
        };
        let text = format!("/sim tokens={tokens}{think} {form} seed={}", self.random.u32(..));
        let mut whole = String::new();
        let mut expected = Expected::of(&text).unwrap();
        while expected.piece(&mut whole) {}
        let message = format!("m{}", self.turns);
        let request = self.request();
        let mut answer = Answer::of(&request);
        let mut socket = self.connect().await;
        socket.send_frame(&ask_with(&request, &self.chat, &message, &text)).await;
        loop {
            self.read_some(&mut socket, &mut answer).await;
            if answer.end == Some(End::Whole) {
                break;
            }
            self.cut(socket, &answer).await;
            socket = self.connect().await;
            self.come_back(&mut socket, &mut answer, &message, &text).await;
        }
        assert_eq!(answer.text, whole, "turn {} of {}", self.turns, self.chat);
        for tab in self.tabs.drain(..) {
            let tab = tab.await.unwrap();
            assert_eq!(tab.end, Some(End::Whole), "{tab:?}");
            assert_eq!(tab.text, whole, "in a tab of turn {} of {}", self.turns, self.chat);
        }
    }

    /// Reads a random number of frames, or to the end.
    async fn read_some(&mut self, socket: &mut Chats, answer: &mut Answer) {
        let frames = if self.random.u8(..) < 16 { usize::MAX } else { self.random.usize(0..40) };
        for _ in 0..frames {
            let Some(frame) = socket.try_next().await else { return };
            answer.take(&frame);
            match &answer.end {
                None => {}
                Some(End::Whole) => return,
                other => panic!("{other:?}: {answer:?}"),
            }
        }
    }

    async fn cut(&mut self, mut socket: Chats, answer: &Answer) {
        let way = WAYS[self.random.usize(0..WAYS.len())];
        *self.cuts.entry(way).or_default() += 1;
        match way {
            "reset" => socket.reset(),
            "fin" => drop(socket.socket.get_mut().shutdown().await),
            "close" => drop(socket.socket.close(None).await),
            "half" => {
                let _ = socket.socket.get_mut().shutdown().await;
                // It reads on; the gateway closes.
                while socket.try_next().await.is_some() {}
            }
            // It was only the first of two tabs, and reads on beside the other.
            "tab" if answer.message.is_some() => {
                let mut answer = answer.clone();
                self.tabs.push(tokio::spawn(async move {
                    socket.read_answer(&mut answer).await;
                    answer
                }));
            }
            // A machine that fell asleep.
            "silent" => {
                self.silent.push(socket);
                if self.silent.len() > 3 {
                    self.silent.remove(0).reset();
                }
            }
            _ => drop(socket),
        }
    }

    /// Goes on after the last word, or from the beginning as the stock client does; asks again where the
    /// question was lost with the socket.
    async fn come_back(&mut self, socket: &mut Chats, answer: &mut Answer, message: &str, text: &str) {
        let request = self.request();
        let after = if self.random.u8(..) < 180 {
            answer.go_on(&request)
        } else {
            answer.again(&request);
            None
        };
        if answer.message.is_none() && self.random.bool() {
            // The same message once more: it is not answered twice.
            return socket.send_frame(&ask_with(&request, &self.chat, message, text)).await;
        }
        socket.resume(&request, &self.chat, after).await;
        let frame = socket.next().await;
        if frame["type"] == "no-active" {
            assert!(answer.message.is_none(), "it had begun: {answer:?}");
            let request = self.request();
            answer.again(&request);
            return socket.send_frame(&ask_with(&request, &self.chat, message, text)).await;
        }
        answer.take(&frame);
        assert_eq!(answer.end, None, "{frame}");
    }
}

fn variable(name: &str) -> Option<u64> {
    #[expect(clippy::disallowed_methods, reason = "the long form is asked for by the environment")]
    let value = std::env::var(name).ok();
    value.map(|value| value.parse().unwrap())
}

// faults: A15, A19, A20, A21, A22
#[tokio::test]
async fn no_cut_loses_doubles_or_reorders_a_word() {
    let cuts = variable("CUTS").map_or(CUTS, |cuts| cuts as usize);
    let seed = variable("CUT_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("CUT_SEED={seed} CUTS={cuts}");
    let mut gateway = Gateway::spawn(|config| config.session.subscribers_max = 64).await;
    let share = cuts.div_ceil(CHATS);
    let since = Instant::now();
    let tasks = (0..CHATS).map(|number| {
        let mut cutter = Cutter {
            gateway: gateway.address,
            random: Rng::with_seed(seed ^ number as u64),
            chat: format!("chat{number}"),
            cookie: String::new(),
            requests: 0,
            silent: Vec::new(),
            tabs: Vec::new(),
            cuts: BTreeMap::new(),
            turns: 0,
            attached: Instant::now(),
        };
        tokio::spawn(async move {
            while cutter.cuts.values().sum::<usize>() < share {
                cutter.turn().await;
            }
            (cutter.cuts, cutter.turns)
        })
    });
    let tasks: Vec<_> = tasks.collect();
    let (mut all, mut turns) = (BTreeMap::<_, usize>::new(), 0);
    for task in tasks {
        let (cuts, more) = task.await.unwrap();
        turns += more;
        for (way, times) in cuts {
            *all.entry(way).or_default() += times;
        }
    }
    let made: usize = all.values().sum();
    println!("{made} cuts in {turns} answers, {:?}: {all:?}", since.elapsed());
    assert!(made >= cuts && WAYS.iter().all(|way| all.contains_key(way)), "{all:?}");
    assert_eq!(gateway.upstream().requests(), turns as u64, "no question was answered twice");
    assert_eq!(gateway.drain().await, tidegate::app::Ended::Drained);
}
