/** The list of conversations and the search in it. */
import { cleanup, fireEvent, screen } from "@testing-library/react";
import { afterEach, expect, it } from "vitest";
import { answer, draw, fakeStore, put } from "../../testing/fake-store";
import { Sidebar } from "./sidebar";

afterEach(cleanup);

it("searches once for each word, not with every word that is written meanwhile", async () => {
  const store = fakeStore();
  draw(store, <Sidebar onOpen={() => undefined} onNew={() => undefined} />);
  fireEvent.change(screen.getByRole("searchbox"), { target: { value: "tide" } });
  expect(await screen.findByText("Nothing found.")).toBeTruthy();
  put(store, { writing: { a: answer({ text: "more" }) } });
  put(store, { heads: [{ id: "c", title: "t", titled: true, created: 1, updated: 2 }] });
  expect(store.done).toEqual([["search", "tide"]]);
});
