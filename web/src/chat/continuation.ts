/** Answers that broke off and can be continued by the model that wrote them. */
import { bodyOf } from "./choice";
import type { PageConfig } from "./contract";
import { type AssistantMessage, type Conversation, wireId } from "./model";
import { answerOf, replaced } from "./tree";

/** Faults after which the model would not go on. */
const FINAL = new Set(["input_refused", "output_refused"]);

type Offer = Pick<PageConfig, "models"> | null;

/** Whether the gateway would go on with the answer: it is the newest that it has, and its model can. */
export function canContinue(
  conversation: Conversation | undefined,
  answer: AssistantMessage,
  config: Offer,
): boolean {
  const { outcome, finishReason, fault, asked, serverId, text, model } = answer;
  const isBroken = outcome === "stopped" || outcome === "failed" || finishReason === "length";
  return (
    conversation?.remembered.at(-1)?.[1] === answer.id &&
    asked?.chat === wireId(conversation) &&
    isBroken &&
    serverId !== undefined &&
    text.trim() !== "" &&
    !FINAL.has(fault?.code ?? "") &&
    config?.models.find(({ id }) => id === model)?.continues === true
  );
}

/** The answer as it waits for what follows. */
export function goneOn(
  conversation: Conversation,
  id: string,
  config: Offer,
): { conversation: Conversation; answer: AssistantMessage } | undefined {
  const old = answerOf(conversation, id);
  if (!old?.asked || old.serverId === undefined) return undefined;
  const { applied: _, fault: __, finishReason: ___, takenOver: ____, ...rest } = old;
  // What is set for another model may not be set for this one.
  const { model, ...body } = bodyOf(conversation.choice, config);
  const isSame = (model ?? config?.models.find(({ isDefault }) => isDefault)?.id) === old.model;
  const asked = {
    chat: old.asked.chat,
    trigger: "continue" as const,
    messageId: old.serverId,
    ...(isSame && Object.keys(body).length > 0 ? { body } : {}),
  };
  const answer: AssistantMessage = { ...rest, outcome: "waiting", asked };
  return { conversation: replaced(conversation, answer), answer };
}
