/** A day of one page: its memory stays what it was. G19. */
import { answered, articles, open, say } from "../harness/chat.mjs";
import { until } from "../harness/children.mjs";
import { collecting, heapMb } from "../harness/measure.mjs";
import { rich } from "../harness/prompts.mjs";
import { test } from "../harness/registry.mjs";

/** Eight hours of a user who asks for a long answer every minute: each in a conversation of twenty. */
const ANSWERS = 500;
const IN_ONE = 20;
/** 2.84 characters each: 20,000 in all. */
const DELTAS = 7050;

test("500 answers of 20,000 characters", {
  goal: "G19",
  alone: true,
  strict: true,
  timeout: 1_500_000,
}, async (t) => {
  const stack = await t.stack({ nginx: false });
  const context = await t.context(stack);
  await collecting(context);
  const page = await context.newPage();
  await open(page, stack);
  const heaps = [];
  for (let at = 0; at < ANSWERS; at++) {
    const count = 1 + (at % IN_ONE);
    if (count === 1) {
      await page.getByRole("button", { name: "New chat" }).first().click();
      await until("an empty thread", async () => (await articles(page).count()) === 0);
    }
    await say(page, rich(DELTAS, 0));
    await answered(page, { count });
    if (at % 50 === 49) heaps.push(await heapMb(page));
  }
  t.figure(
    {
      case: "a day",
      answers: ANSWERS,
      heap_mb: heaps.at(-1),
      at_half_mb: heaps[heaps.length / 2 - 1],
      grown_mb: Math.round(heaps.at(-1) - heaps[heaps.length / 2 - 1]),
      every_50: heaps.join(" "),
    },
    { heap_mb: 150, grown_mb: 20 },
  );
});
