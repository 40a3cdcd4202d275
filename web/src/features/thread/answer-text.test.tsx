/** The source of an answer is seen only where the renderer is late. */
import { cleanup, render, waitFor } from "@testing-library/react";
import { afterEach, expect, test } from "vitest";
import { TextProvider } from "../../i18n/use-text";
import { AnswerText, loadMarkdown } from "./answer-text";

afterEach(cleanup);

const drawn = (id: string) =>
  render(
    <TextProvider language="en">
      <AnswerText id={id} text="some **bold** text" done />
    </TextProvider>,
  ).container;

test("an answer is drawn as soon as the renderer is there, and at once when it was there before", async () => {
  const first = drawn("first");
  expect(first.querySelector("[data-plain]")?.textContent).toBe("some **bold** text");
  await loadMarkdown();
  await waitFor(() => expect(first.querySelector("strong")?.textContent).toBe("bold"), { timeout: 250 });
  const second = drawn("second");
  expect(second.querySelector("[data-plain]")).toBe(null);
  expect(second.querySelector("strong")?.textContent).toBe("bold");
});
