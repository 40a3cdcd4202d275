/** A typical model answer of any length: Chinese and English, code, lists, tables, quotes, maths. */

const SECTIONS = [
  `## 潮汐是怎么来的

**月球的引力：**海水被拉向月球的一侧，也被“甩”向另一侧，于是一天里有两次涨潮。*太阳*也有份，只是远得多。The pull of the
moon raises the water on both sides, and the earth turns below it. See [the tables](https://example.org/tides?id=1) for a port near you.

1. 大潮：太阳、月球、地球**几乎成一条线**。
2. 小潮：它们成直角。
   - 落差最小
   - 水流也最慢

`,
  `### Code that counts

\`\`\`rust
/// Height of the water, in metres, so many hours after high water.
fn tide(hour: u32) -> f64 {
    let phase = f64::from(hour) / 12.4 * std::f64::consts::TAU;
    2.5 + 1.5 * phase.cos() // 两次高潮之间约 12.4 小时
}
\`\`\`

Call \`tide(6)\` for the height at low water. 也可以画成图：每小时一个点就够了。

> 引用：海有潮，人有时。
> A quote may go on
> over several lines.

`,
  `| 港口 | High water | 落差 (m) |
| :--- | :---: | ---: |
| 上海 | 05:12 | 3.2 |
| Brest | 04:48 | 6.1 |
| Saint-Malo | 06:20 | 12.0 |

能量与落差的平方成正比：$E \\propto h^2$，所以 12 米的落差值 $$E = \\tfrac{1}{2} \\rho g A h^2$$ 那么多。A pass costs $5 today and $10 tomorrow.

`,
  `\`\`\`typescript
export const spring = (moon: number, sun: number): boolean => Math.abs(moon - sun) % 180 < 12;
for (const day of month) if (spring(day.moon, day.sun)) console.log(day.date, "大潮");
\`\`\`

- [x] 看潮汐表
- [ ] 带雨靴
- 别忘了回来的路 —— 涨潮比人快。

---

`,
];

/** Text of about this many characters. */
export function sample(characters: number): string {
  let text = "";
  for (let at = 0; text.length < characters; at += 1) {
    text += (SECTIONS[at % SECTIONS.length] as string).replace("## ", `## ${at + 1}. `);
  }
  return text;
}

/** Cut as models do it: one or two Chinese characters, or a few Latin ones. */
export function deltas(text: string, random: () => number): string[] {
  const cut: string[] = [];
  let at = 0;
  while (at < text.length) {
    const isChinese = text.charCodeAt(at) >= 0x2e80;
    const length = isChinese ? 1 + Math.floor(random() * 2) : 2 + Math.floor(random() * 5);
    cut.push(text.slice(at, at + length));
    at += length;
  }
  return cut;
}

/** The same numbers for the same seed. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
