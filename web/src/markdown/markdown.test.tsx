/** What Markdown shows, and what it must never produce. */
import { cleanup, render } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { hostile } from "../testing/hostile";
import { Markdown } from "./markdown";

const labels = {
  copy: "Copy code",
  copied: "Copied",
  copyFailed: "Failed",
  image: "Image",
  wrap: "Wrap",
  code: "Code",
  table: "Table",
  done: "Done",
  open: "Not done",
  formula: "Formula",
  longFormula: "Long formula",
  mermaid: "Mermaid",
  details: "Details",
  notes: "Footnotes",
  note: "Footnote",
  back: "Back",
};
let names = 0;

afterEach(cleanup);

function shown(text: string, done = true): HTMLElement {
  names += 1;
  return render(<Markdown id={`m${names}`} text={text} done={done} labels={labels} />).container;
}

const FORBIDDEN =
  "script,iframe,frame,object,embed,form,base,meta,link,style,template,img,video,audio,source,svg,picture,portal";

// faults: J121, J122
test("no hostile answer gets an element, an attribute or an address that does something", () => {
  expect(hostile.length).toBeGreaterThanOrEqual(500);
  for (const text of hostile) {
    for (const done of [true, false]) {
      const place = shown(text, done);
      expect(place.querySelector(FORBIDDEN)?.outerHTML, text).toBe(undefined);
      for (const element of place.querySelectorAll("*")) {
        for (const { name, value } of element.attributes) {
          expect(/^on|^srcdoc$|^formaction$|^xlink/i.test(name), `${text}: ${name}`).toBe(false);
          if (name === "href")
            expect(/^(?:https?:\/\/|mailto:|#m\d)/i.test(value), `${text}: ${value}`).toBe(true);
        }
      }
      cleanup();
    }
  }
}, 60_000);

test("a picture is a link that says where it leads", () => {
  const link = shown("![the moon](https://evil.example/moon.png?q=1)").querySelector("a");
  expect(link?.textContent).toBe("Image: the moon (evil.example)");
  expect(link?.rel).toBe("noopener noreferrer nofollow");
});

test("Chinese emphasis is emphasis", () => {
  expect(shown("**强调：**正文").querySelector("strong")?.textContent).toBe("强调：");
});

test("what is written from right to left has its numbers, bars and columns there", () => {
  const place = shown(
    "القمر **يجذب** الماء\n\n1. أولاً\n   - ثانياً\n\n> اقتباس\n\n| ميناء |\n| --- |\n| بريست |",
  );
  const directed = [...place.querySelectorAll('[dir="auto"]')].map(({ tagName }) => tagName);
  // Only the outermost: a part with a direction of its own is not looked at for that of the whole.
  expect(directed).toEqual(["P", "OL", "BLOCKQUOTE", "DIV"]);
});

test("money is no maths, and maths is", () => {
  expect(shown("It costs $5 today and $10 tomorrow.").textContent).toBe(
    "It costs $5 today and $10 tomorrow.",
  );
  expect(shown("so $x^2$ it is").querySelectorAll('[dir="ltr"]').length).toBe(1);
  expect(shown("$$\nE = mc^2\n$$").querySelectorAll('[dir="ltr"]').length).toBe(1);
});

test("raw marks of what is still being written are not seen", () => {
  for (const [text, seen] of [
    ["some **bold te", "some bold te"],
    ["some `code", "some code"],
    ["a [link](https://exam", "a link"],
    ["~~gone", "gone"],
    ["*slanted", "slanted"],
  ]) {
    expect(shown(text as string, false).textContent).toBe(seen);
  }
});

test("tasks, tables and code are what they are", () => {
  const boxes = [...shown("- [x] done\n- [ ] open\n- none").querySelectorAll("input")];
  expect(boxes.map(({ checked, disabled }) => [checked, disabled])).toEqual([
    [true, true],
    [false, true],
  ]);
  const table = shown("| a | b |\n| - | -: |\n| 1 | 2 |");
  expect(table.querySelectorAll("th").length).toBe(2);
  expect(table.querySelector('td[data-align="right"]')?.textContent).toBe("2");
  const code = shown("```rust\nfn main() {}\n```");
  expect(code.querySelector("pre")?.textContent).toBe("fn main() {}\n");
  expect(code.querySelector("pre")?.tabIndex).toBe(0);
});

test("a line break of HTML is one, in a cell and in prose, but not in code", () => {
  const cell = shown("| a |\n| - |\n| one<br>two<br/>three<BR />four |").querySelector("td");
  expect(cell?.querySelectorAll("br").length).toBe(3);
  expect(cell?.textContent).toBe("onetwothreefour");
  const prose = shown("one<br>two, `<br>`, <brx>, \\<br>");
  expect(prose.querySelectorAll("br").length).toBe(1);
  expect(prose.textContent).toContain("<br>, <brx>, <br>");
});

test("a late definition reaches what was before it", () => {
  names += 1;
  const props = { id: `m${names}`, labels };
  const { container, rerender } = render(<Markdown {...props} text={"[x]\n\ntwo\n\nthree\n"} done={false} />);
  expect(container.querySelector("a")).toBe(null);
  rerender(<Markdown {...props} text={"[x]\n\ntwo\n\nthree\n\n[x]: https://example.org"} done />);
  expect(container.querySelector("a")?.href).toBe("https://example.org/");
});

test("what is finished stays what it was on the screen: a selection in it, a switch that was set", () => {
  const whole = `${Array.from({ length: 30 }, (_, n) => `Paragraph ${n}\n\n`).join("")}\`\`\`js\nlet a = 1;\n\`\`\`\n\n\`\`\`js\nlet b = 2;\n\`\`\`\n\n---\n\nend`;
  const draw = (to: number, done = false) => (
    <Markdown id="stays" text={whole.slice(0, to)} done={done} labels={labels} />
  );
  const { container, rerender } = render(draw(1));
  const seen: Element[] = [];
  for (let to = 2; to <= whole.length + 1; to += 1) {
    rerender(draw(to, to > whole.length));
    const now = [...container.querySelectorAll("p, pre, hr")];
    // Only the last one may still become something else.
    expect(now.slice(0, seen.length - 1)).toEqual(seen.slice(0, -1));
    for (let at = 0; at < seen.length - 1; at += 1) expect(now[at]).toBe(seen[at]);
    seen.splice(0, seen.length, ...now);
  }
  expect(seen).toHaveLength(34);
});

const NOTED = "The moon[^1] and the sun[^s], again[^1].\n\n[^1]: Newton, **book 3**.\n[^s]: By 46 %.";

test("footnotes stand at the end, lead there and back, and have names of their own in each message", () => {
  const one = shown(NOTED);
  const other = shown(NOTED);
  expect(one.textContent).toBe("The moon1 and the sun2, again1.Newton, book 3.↩↩By 46 %.↩");
  const notes = one.querySelector("section")?.querySelectorAll("li") ?? [];
  expect([...notes].map(({ value }) => value)).toEqual([1, 2]);
  expect(one.querySelector("section li strong")?.textContent).toBe("book 3");
  const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
  expect(ids).toHaveLength(10);
  expect(new Set(ids).size).toBe(ids.length);
  const links = [...document.querySelectorAll<HTMLAnchorElement>('a[href^="#"]')];
  for (const { hash } of links) expect(ids).toContain(decodeURIComponent(hash.slice(1)));
  expect(other.querySelector("section")?.getAttribute("aria-label")).toBe("Footnotes");
});

test("a footnote is gone to without leaving the conversation", () => {
  const place = shown(NOTED);
  const seen: Element[] = [];
  Element.prototype.scrollIntoView = function () {
    seen.push(this);
  };
  const link = place.querySelector<HTMLElement>('a[role="doc-noteref"]');
  const event = new MouseEvent("click", { bubbles: true, cancelable: true });
  link?.dispatchEvent(event);
  expect(event.defaultPrevented).toBe(true);
  expect(seen).toEqual([place.querySelector("section li")]);
  expect(document.activeElement).toBe(seen[0]);
  place.querySelectorAll<HTMLElement>('a[role="doc-backlink"]')[1]?.click();
  expect(document.activeElement?.textContent).toBe("1");
  expect(document.activeElement).not.toBe(link);
});

test("a footnote is drawn while it is written, and one that is never defined has its number", () => {
  expect(shown("A claim[^1] of", false).textContent).toBe("A claim1 of");
  expect(shown("A claim[^2].\n\n[^2]: Its sou", false).textContent).toBe("A claim2.Its sou↩");
  expect(shown("A claim[^7].").textContent).toBe("A claim7.");
  expect(shown("All but [^a-z].").textContent).toBe("All but [^a-z].");
});

test("details hold Markdown, and nothing of their tags but that they are open", () => {
  const text =
    '<details open onclick="alert(1)" class=x><summary style="x">**More**</summary>\n\n- one\n\n<script>alert(1)</script>\n</details>\n\nafter';
  const place = shown(text);
  const details = place.querySelector("details");
  expect(details?.open).toBe(true);
  expect(details?.getAttributeNames().sort()).toEqual(["class", "dir", "open"]);
  expect(details?.querySelector("summary")?.getAttributeNames()).toEqual([]);
  expect(details?.querySelector("summary strong")?.textContent).toBe("More");
  expect(details?.querySelector("li")?.textContent).toBe("one");
  expect(place.querySelector("script")).toBe(null);
  expect(place.textContent).toContain("<script>alert(1)</script>");
  expect(place.querySelector("details + p")?.textContent).toBe("after");
  expect(shown("<details>\n\nx\n\n</details>").querySelector("details")?.open).toBe(false);
  expect(shown("<details>\n\nx\n\n</details>").querySelector("summary")?.textContent).toBe("Details");
  // What is never closed is not hidden.
  expect(shown("<details>\n\nx").querySelector("details")?.open).toBe(true);
});

test("what a reader opened stays open while more is written", () => {
  const text = "<details>\n<summary>S</summary>\n\none two three\n\n</details>\n\nafter it\n\nend";
  const draw = (to: number, done = false) => (
    <Markdown id="opened" text={text.slice(0, to)} done={done} labels={labels} />
  );
  const { container, rerender } = render(draw(40));
  const details = container.querySelector("details");
  if (details) details.open = true;
  for (let to = 41; to <= text.length; to += 1) rerender(draw(to));
  rerender(draw(text.length, true));
  expect(container.querySelector("details")).toBe(details);
  expect(details?.open).toBe(true);
});

test("a diagram is code that says what it is", () => {
  const code = shown("```mermaid\ngraph TD\n```");
  expect(code.querySelector("pre")?.textContent).toBe("graph TD\n");
  expect(code.textContent).toContain("Mermaid");
});

test("a formula that is being written has a sign, one that is too long is its source", () => {
  expect(shown("so $a^2 +", false).querySelector('[role="img"]')?.getAttribute("aria-label")).toBe("Formula");
  expect(shown("$$\na^2 +", false).querySelector('[role="img"]')).not.toBe(null);
  const source = "x + ".repeat(25_000);
  const place = shown(`$$\n${source}1\n$$`);
  expect(place.querySelector("pre")?.textContent).toBe(`${source}1`);
  expect(place.textContent).toContain("Long formula");
});

test("a table of thousands of columns is shown as its source", () => {
  const row = `|${"a|".repeat(2_000)}`;
  const text = `${row}\n|${"-|".repeat(2_000)}\n${row}`;
  const place = shown(`${text}\n\nafter`);
  expect(place.querySelector("table")).toBe(null);
  expect(place.querySelector("pre")?.textContent).toBe(`${text}\n`);
  expect(place.querySelector("p")?.textContent).toBe("after");
});

test("a table in a list in a quotation is a table, also while it is written", () => {
  const text = "> - item\n>\n>   | a | b |\n>   | - | - |\n>   | 1 | 2 |";
  for (const [to, cells] of [
    [text.indexOf("b"), "a"],
    [text.indexOf("- |\n>   | 1"), "ab"],
    [text.length, "ab12"],
  ] as const) {
    const table = shown(text.slice(0, to), to === text.length).querySelector("blockquote li table");
    expect(table?.textContent, text.slice(0, to)).toBe(cells);
  }
});
