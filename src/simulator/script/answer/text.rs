//! Longer answers in Markdown: an opening, a body by shape, a closing line.
use super::{cut, mix};

const OPENINGS: [&str; 3] =
    ["Good question. Let us take it apart.", "Here is how I see it.", "Let me think about that with you."];
const OPENINGS_ZH: [&str; 3] = ["好问题，我们一步一步来看。", "我是这样看的。", "我们一起想一想。"];

const CODE: &str = "```rust\nfn tide(hour: u32) -> f64 {\n    // High water comes about every 12.4 hours.\n    let phase = f64::from(hour) / 12.4 * std::f64::consts::TAU;\n    2.5 + 1.5 * phase.cos()\n}\n```\n\nCall `tide(6)` for the height six hours after high water.";
const TABLE: &str = "| hour | height | gate |\n| ---: | -----: | :--- |\n| 0 | 4.0 m | closed |\n| 3 | 2.6 m | open |\n| 6 | 1.0 m | open |\n| 9 | 2.3 m | open |\n\nThe gate closes above **3.5 m**.";
const LIST: &str = "1. Look at what is known already.\n2. Change **one** thing.\n3. Measure again:\n   - the time it took,\n   - what it cost.\n4. Keep the change only if it helped.";
const PLAIN: &str = "A tide gate lets water out while the sea is low and keeps it out while the sea is high. Nothing is forced: *the water itself* opens and closes it.\n\n> Slow is smooth, and smooth is fast.\n\nThe same holds for many systems: let pressure flow where there is room, and hold it back where there is none.";

const CODE_ZH: &str = "```python\ndef tide(hour):\n    # 大约每 12.4 小时一次高潮\n    return 2.5 + 1.5 * cos(hour / 12.4 * tau)\n```\n\n调用 `tide(6)` 可以得到高潮后六小时的水位。";
const TABLE_ZH: &str = "| 时间 | 水位 | 闸门 |\n| ---: | ---: | :--- |\n| 0 | 4.0 米 | 关 |\n| 3 | 2.6 米 | 开 |\n| 6 | 1.0 米 | 开 |\n\n水位超过 **3.5 米** 时闸门关闭。";
const LIST_ZH: &str = "1. 先看已经知道什么。\n2. 每次只改**一处**。\n3. 再测一次：\n   - 用了多少时间，\n   - 花了多少成本。\n4. 有效才保留。";
const PLAIN_ZH: &str = "潮闸在退潮时放水，在涨潮时挡水。没有谁强迫它：*水自己*打开它，也关上它。\n\n> 慢就是稳，稳就是快。\n\n许多系统也是这样：有空间的地方让压力流过去，没有空间的地方把它挡住。";

/// A longer answer that shows what it was asked and what was said before.
pub(super) fn essay(
    question: &str,
    before: Option<&str>,
    count: usize,
    shape: u64,
    chinese: bool,
    seed: u64,
) -> String {
    let pick = (mix(seed ^ 1) % 3) as usize;
    let shape = shape as usize;
    if chinese {
        let before = before.map_or(String::new(), |text| format!("你之前说过：“{}”\n\n", cut(text)));
        let body = [CODE_ZH, TABLE_ZH, LIST_ZH, PLAIN_ZH][shape];
        return format!(
            "## 关于“{}”\n\n{}\n\n{before}{body}\n\n*第 {count} 轮，模拟回答*",
            cut(question),
            OPENINGS_ZH[pick]
        );
    }
    let before = before.map_or(String::new(), |text| format!("You said before: \"{}\"\n\n", cut(text)));
    let body = [CODE, TABLE, LIST, PLAIN][shape];
    format!(
        "## About \"{}\"\n\n{}\n\n{before}{body}\n\n*Turn {count}, a simulated answer*",
        cut(question),
        OPENINGS[pick]
    )
}
