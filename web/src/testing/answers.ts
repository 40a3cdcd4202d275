/** Answers with all Markdown elements, watched while they grow: raw marks must not be visible. */
import { seeded } from "./sample";
import { TABLES } from "./tables";

const PIECES: string[] = [
  "## Tides in short\n\nThe **moon** pulls the *ocean*, and `tide(t)` follows; see [the tables](https://example.org/tides?id=1).",
  "### 潮汐是怎么来的\n\n**月球的引力：**海水被拉向月球的一侧，也被“甩”向另一侧。这是**重点**内容，~~以前的说法~~不对。",
  "| Port | High water | Range |\n| :--- | :---: | ---: |\n| **Brest** | 05:12 | `6.1 m` |\n| Saint-Malo | 07:40 | $12.2$ m |",
  "Energy grows with the square of the range, $E \\propto h^2$, so that\n\n$$\nE = \\tfrac{1}{2} \\rho g A h^2\n$$\n\nfor an area $A$.",
  "The integral is $$\\int_0^1 x^2\\,dx = \\frac{1}{3}$$ and the sum \\(\\sum_{k=1}^n k = \\frac{n(n+1)}{2}\\) is older.",
  "\\[\na^2 + b^2 = c^2\n\\]\n\n所以 $c = \\sqrt{a^2 + b^2}$，当 $a = 3$ 时 $c = 5$。",
  "It costs $5 and $6, or $1,000 a year; a pass costs $20/month. 一共 $30 美元。",
  "1. First, open the file.\n2. Then run `cargo build`:\n   - **release** with `--release`\n   - *debug* without\n3. Done.",
  "- [x] read the table\n- [ ] buy boots\n- [ ] **come back**, the tide is [faster](https://example.org/fast 'than you')",
  "> **Note:** a quote may hold `code`,\n> and a [link](https://example.org/quote).\n>\n> > Another one in it, with *stress*.",
  '```rust\nfn main() {\n    let a = [1, 2]; // **no bold** here, `no code`, $5\n    println!("{}", a[0] * 2);\n}\n```',
  "```mermaid\ngraph TD\n  A[Moon] -->|pulls| B(Water)\n```",
  "<details>\n<summary>Why **two** high waters?</summary>\n\nBecause the earth is pulled *away* from the far side.\n\n- one below the moon\n- one opposite\n\n</details>",
  "The moon does it[^1], with some help[^sun].\n\n[^1]: Newton, *Principia*, book 3.\n[^sun]: The sun, by **46 %**.",
  "![The moon](https://example.org/moon.png) rises, see <https://example.org/rise> or https://example.org/set?x=1&y=2.",
  "***Both at once***, __strong__ and _slanted_, snake_case_name, 2 * 3 * 4, and 5*3 is 15.",
  "Setext heading\n---\n\nText below a rule:\n\n---\n\nThe `list[0]` of a list is list[0], &amp; so on &copy; 2026.",
  "| 方案 | 优点 | 缺点 |\n|---|---|---|\n| 自建 | **稳定**，`低延迟` | 贵：$10^4$ 元 |\n| 云 | [弹性](https://example.org/cloud) | 流量另计 |",
  "Three ways:\n\n* **One**: `a`\n* **Two**: [b](https://example.org/b)\n* **Three**: $c$\n\n#### And a small heading\n\nEnd.",
  "- a table in a list:\n\n  | a | b |\n  | - | - |\n  | 1 | **2** |\n\n- and $x_1 + x_2$ after it\n\n> | q | r |\n> |---|---|\n> | `1` | 2 |",
];

/** Twenty answers of several pieces each; more with a larger number. All differ. */
export function answers(count: number): string[] {
  const random = seeded(11);
  const pick = <T>(list: T[]): T => list[Math.floor(random() * list.length)] as T;
  return Array.from({ length: count }, (_, at) => {
    const first = PIECES[at % PIECES.length] as string;
    const more = [pick(PIECES), random() < 0.5 ? pick(PIECES) : pick(TABLES)];
    // A label has one definition: notes come once.
    const all = [first, ...more.filter((piece) => piece !== first && !piece.includes("[^"))];
    return all.join("\n\n");
  });
}

export const pieces = PIECES;

/** Text that must not be visible outside of code while one of these answers grows. */
export const RAW: RegExp[] = [
  /\|\s*:?-/,
  /^\s*\|/m,
  /\$\$/,
  /\\[([]/,
  /\$[a-zA-Z\\]/,
  /\]\(/,
  /!\[/,
  /\[\^/,
  /\*\*|__|~~/,
  /(?:^|[\s(])\*(?=\S)/m,
  /`/,
  /^\s*#{1,6}(?:\s|$)/m,
  /<\/?[ds]/,
  /\[[ xX]?\]?\s*$/m,
  /&(?:[a-z]+;|#)/,
];
