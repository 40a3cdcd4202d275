/** Messages to the simulator that produce the answers of the tests. */

/** `text` as a switch of `/sim`. */
export const quoted = (text) => JSON.stringify(text);

export const simText = (text, more = "") => `/sim ${more} text=${quoted(text)}`;

/** Each delta with its number, which reveals losses, duplicates and changes of order. */
export const counting = (tokens, paceMs) =>
  `/sim tokens=${tokens} pace_ms=${paceMs} first_ms=5 phase=0 number`;

/** About two thousand characters of typical model output: everything that is expensive to render. */
export const RICH = `## 潮汐 and tides

The **moon** pulls at the *ocean*, and \`tide(t)\` follows; see [the table](https://example.com/tide?x=1).
**强调：**正文跟在后面，没有空格。The sea is ~~calm~~ restless, says the harbour master of Brest.

1. Spring tides come at full and new moon.
2. Neap tides come in between, *weaker* by a third.
   - the sun helps or hinders
   - the shape of the bay decides

| Port | High water | Range |
| --- | ---: | ---: |
| Brest | 05:12 | 6.1 m |
| Saint-Malo | 07:40 | 12.2 m |
| 上海 | 01:05 | 3.4 m |

\`\`\`rust
/// Height of the water over chart datum, in metres.
fn height(t: f64, parts: &[Part]) -> f64 {
    parts.iter().map(|p| p.amplitude * (p.speed * t + p.phase).cos()).sum::<f64>()
}
\`\`\`

> A tide table is a promise that the sea keeps, wrote nobody in particular, and yet it is so in most harbours.

\`\`\`python
def height(t, parts):
    """Height of the water over chart datum, in metres."""
    return sum(p.amplitude * math.cos(p.speed * t + p.phase) for p in parts)
\`\`\`

It costs $5 to enter and $10 to stay, which is not mathematics. 每天两次高潮，两次低潮，相隔大约十二小时二十五分钟。
The rest is weather: wind from the west piles up the water, high pressure pushes it down, one centimetre for each hectopascal.

`;

/** Deltas that the rich text is cut into by the simulator, found by counting; see \`ends\` in its source. */
export const rich = (tokens, paceMs) =>
  `/sim tokens=${tokens} pace_ms=${paceMs} first_ms=5 phase=0 text=${quoted(RICH)}`;
