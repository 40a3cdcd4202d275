/** What a person sees of Markdown, and what nobody may ever get out of it. */
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
            expect(/^(?:https?:\/\/|mailto:)/i.test(value), `${text}: ${value}`).toBe(true);
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
