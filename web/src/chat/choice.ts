/** The model and the parameters that the user chose for a conversation, against what the gateway offers. */
import type { ChoiceBody } from "../protocol/frames";
import { readLocal, writeLocal } from "../storage/local";
import type { PageConfig } from "./contract";

/** A model on offer, and what may be set for it. */
export interface OfferedModel {
  id: string;
  title: string;
  isDefault: boolean;
  /** None of its upstreams answers now. It can be chosen all the same. */
  isDown?: boolean;
  temperature?: { min: number; max: number };
  topP?: { min: number; max: number };
  maxTokens?: { max: number };
  /** Thinking can be switched on and off. */
  thinking?: true;
  /** Its answers can be continued where they broke off. */
  continues?: true;
}

/** What the user chose. What is absent is the operator's or the model's to decide. */
export interface Choice {
  model?: string;
  temperature?: number;
  topP?: number;
  maxTokens?: number;
  thinking?: boolean;
}

type Fields = Record<string, unknown>;
const isFields = (value: unknown): value is Fields => typeof value === "object" && value !== null;
const number = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined;

/** Longest name that a gateway offers. */
const NAME_MAX = 128;

/** Validates a choice from storage and from files. */
export function readChoice(value: unknown): Choice {
  if (!isFields(value)) return {};
  const { model, thinking } = value;
  const isNamed = typeof model === "string" && model !== "" && model.length <= NAME_MAX;
  const all: Choice = {
    ...(isNamed ? { model } : {}),
    ...(typeof thinking === "boolean" ? { thinking } : {}),
  };
  for (const name of ["temperature", "topP", "maxTokens"] as const) {
    const read = number(value[name]);
    if (read !== undefined) all[name] = read;
  }
  return all;
}

/** The models of `/api/config`; damaged entries are left out. */
export function readModels(value: unknown): OfferedModel[] {
  const range = (read: unknown) => {
    const [min, max] = isFields(read) ? [number(read.min), number(read.max)] : [];
    return min !== undefined && max !== undefined && min < max ? { min, max } : undefined;
  };
  return (Array.isArray(value) ? value : []).flatMap((entry) => {
    if (!isFields(entry) || typeof entry.id !== "string") return [];
    const parameters = isFields(entry.parameters) ? entry.parameters : {};
    const [temperature, topP] = [range(parameters.temperature), range(parameters.top_p)];
    const max = isFields(parameters.max_tokens) ? number(parameters.max_tokens.max) : undefined;
    const model: OfferedModel = {
      id: entry.id,
      title: typeof entry.title === "string" && entry.title !== "" ? entry.title : entry.id,
      isDefault: entry.default === true,
      ...(entry.state === "down" ? { isDown: true } : {}),
      ...(temperature ? { temperature } : {}),
      ...(topP ? { topP } : {}),
      ...(max !== undefined && max >= 1 ? { maxTokens: { max } } : {}),
      ...(Array.isArray(parameters.thinking) && parameters.thinking.includes("on") ? { thinking: true } : {}),
      ...(entry.continues === true ? { continues: true } : {}),
    };
    return [model];
  });
}

const NONE: readonly OfferedModel[] = [];

/** The model that answers next: the chosen one, or the default one if it is not offered. */
export function answering(
  choice: Choice,
  config: Pick<PageConfig, "models"> | null,
): OfferedModel | undefined {
  const models = config?.models ?? NONE;
  return (
    models.find(({ id }) => id === choice.model) ?? models.find(({ isDefault }) => isDefault) ?? models[0]
  );
}

/** The chosen model, if it is not offered any more and another one answers. */
export function goneModel(choice: Choice, config: Pick<PageConfig, "models"> | null): string | undefined {
  const models = config?.models ?? NONE;
  const isGone = choice.model !== undefined && models.length > 0;
  return isGone && models.every(({ id }) => id !== choice.model) ? choice.model : undefined;
}

const within = (value: number | undefined, range: { min: number; max: number } | undefined) =>
  value !== undefined && range !== undefined && value >= range.min && value <= range.max;

/** What is sent: only what may be set for the model that answers, so that a new offer refuses nothing. */
export function bodyOf(choice: Choice, config: Pick<PageConfig, "models"> | null): ChoiceBody {
  const model = answering(choice, config);
  if (!model) return {};
  const { temperature, topP, maxTokens, thinking } = choice;
  return {
    ...(model.id === choice.model ? { model: model.id } : {}),
    ...(within(temperature, model.temperature) ? { temperature } : {}),
    ...(topP !== undefined && topP > 0 && within(topP, model.topP) ? { top_p: topP } : {}),
    ...(maxTokens !== undefined && Number.isInteger(maxTokens) && maxTokens >= 1
      ? model.maxTokens && maxTokens <= model.maxTokens.max
        ? { max_tokens: maxTokens }
        : {}
      : {}),
    ...(thinking !== undefined && model.thinking ? { thinking } : {}),
  };
}

const KEY = "tidegate.choice";

/** The newest choice in this browser: a new conversation begins with it. */
export function lastChoice(): Choice {
  try {
    return readChoice(JSON.parse(readLocal(KEY) ?? "{}"));
  } catch {
    return {};
  }
}

export const keepChoice = (choice: Choice): void => writeLocal(KEY, JSON.stringify(choice));
