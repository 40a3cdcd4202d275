/** Content of the screenshots: a few conversations, in the page's import format. */

const MINUTE = 60_000;

const TIDES = `The moon pulls on the whole Earth, but it pulls **more strongly on the side that faces it**. Water can move, so it piles up a little there, and on the far side too, where the pull is weakest. The Earth turns beneath these two bulges once a day, and so most coasts see *two high waters*.

| Port | High water | Range |
| --- | ---: | ---: |
| Brest | 05:12 | 6.1 m |
| Saint-Malo | 07:40 | 12.2 m |
| 上海 | 01:05 | 3.4 m |

What a harbour really sees depends on three things:

1. the **shape of its bay**: a funnel makes the wave higher
2. the **sun**, which helps at full and new moon and hinders in between
3. the **weather**: about one centimetre for each hectopascal

In a formula, \\(h(t) = \\sum_i a_i \\cos(\\omega_i t + \\varphi_i)\\); a tide table is little more than that sum.`;

const CODE = `Sum the parts, each with its own speed and phase:

\`\`\`rust
/// Height of the water over chart datum, in metres.
pub fn height(hours: f64, parts: &[Part]) -> f64 {
    parts
        .iter()
        .map(|part| part.amplitude * (part.speed * hours + part.phase).cos())
        .sum()
}
\`\`\`

The same in Python, with \`numpy\`:

\`\`\`python
import numpy as np

def height(hours, parts):
    """Height of the water over chart datum, in metres."""
    a, w, phi = np.array(parts).T
    return float(np.sum(a * np.cos(w * hours + phi)))  # one long line that goes on and on to the right
\`\`\`

Call it once for each minute and you have a curve.

> Keep the phases in radians, or the harbour master will not be pleased.

- [x] amplitudes from the tide gauge
- [ ] nodal corrections`;

const CHINESE = `**潮汐：**海水在月球和太阳引力作用下周期性涨落。

潮汐发电利用涨潮与落潮之间的水位差推动水轮机。**优点：**可以提前几年准确预测出力；**缺点：**选址受限，一次投资高。

| 电站 | 国家 | 装机容量 |
| --- | --- | ---: |
| 始华湖 | 韩国 | 254 MW |
| 朗斯 | 法国 | 240 MW |
| 江厦 | 中国 | 4.1 MW |

简单估算时，可以用 \\(E = \\tfrac12 \\rho g A h^2\\)，其中 \\(h\\) 是潮差。`;

function conversation(now, id, title, minutesAgo, turns) {
  const messages = {};
  const chosen = {};
  let parent = null;
  const created = now - minutesAgo * MINUTE;
  turns.forEach(({ ask, answer, ...more }, k) => {
    const user = `${id}-u${k}`;
    const assistant = `${id}-a${k}`;
    const made = created + k * 1000;
    messages[user] = { role: "user", id: user, parent, text: ask, created: made, delivery: "accepted" };
    messages[assistant] = {
      role: "assistant",
      id: assistant,
      parent: user,
      text: answer,
      reasoning: "",
      created: made,
      outcome: "done",
      finishReason: "stop",
      model: "qwen-plus",
      usage: { input_tokens: 64, output_tokens: Math.round(answer.length / 3.4) },
      firstTokenMs: 412,
      durationMs: 412 + Math.round(answer.length * 5.1),
      ...more,
    };
    chosen[parent ?? ""] = user;
    chosen[user] = assistant;
    parent = assistant;
  });
  return {
    id,
    title,
    titled: true,
    created,
    updated: created,
    messages,
    chosen,
    system: "",
    epoch: 0,
    remembered: [],
  };
}

export function exported(now) {
  const short = (ask, answer) => [{ ask, answer }];
  const day = 24 * 60;
  const conversations = [
    conversation(now, "tides", "Why two high waters a day?", 2, [
      {
        ask: "Why are there two high waters a day, and why is Saint-Malo so extreme?",
        answer: TIDES,
        reasoning:
          "They know that the moon matters. Begin with the difference of the pull, not with the pull itself; then the shape of the bay.",
        reasoningMs: 2300,
      },
    ]),
    conversation(
      now,
      "code",
      "Tide curve in Rust",
      9,
      short("Write `height(t)` in Rust, and in Python too", CODE),
    ),
    conversation(now, "chinese", "潮汐发电", 31, short("用三句话介绍一下潮汐发电", CHINESE)),
    conversation(now, "sse", "HTTP streaming or WebSocket?", 55, short("Which one?", "It depends.")),
    conversation(
      now,
      "bread",
      "Sourdough that rises overnight",
      day,
      short("How?", "Slowly, and in the cold."),
    ),
    conversation(now, "letter", "给房东的一封信", day + 40, short("写一封信", "好的。")),
    conversation(now, "trip", "Three days in Brittany", 3 * day, short("Plan it", "Gladly.")),
    conversation(
      now,
      "long",
      "A very long conversation about everything that has ever been known of the sea",
      5 * day,
      Array.from({ length: 300 }, (_, k) => ({
        ask: `Question ${k + 1}: what of the sea?`,
        answer: `Answer ${k + 1}. The sea is **wide**, and \`depth(${k + 1})\` is unknown.\n\n- it rises\n- it falls`,
      })),
    ),
  ];
  return JSON.stringify({ format: "tidegate-conversations", version: 1, conversations });
}

/** A long answer for screenshots of a running answer. */
export const STREAMED = TIDES;
