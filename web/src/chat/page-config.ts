/** The configuration that a page requests before it opens its socket. */
import { NotNow } from "../connection/link";
import { readModels } from "./choice";
import type { PageConfig } from "./contract";
import { readOperator } from "./operator";

type Fields = Record<string, unknown>;
const fields = (value: unknown): Fields =>
  typeof value === "object" && value !== null ? (value as Fields) : {};
const positive = (value: unknown, otherwise: number): number =>
  typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : otherwise;

/** Missing or invalid fields get the gateway's defaults, so that an older or newer gateway does not break the page. */
export function readConfig(value: unknown): PageConfig {
  const root = fields(value);
  const limits = fields(root.limits);
  const features = fields(root.features);
  return {
    version: typeof root.version === "string" ? root.version : "",
    build: typeof fields(root.page).build === "string" ? (fields(root.page).build as string) : "",
    operator: readOperator(root.page),
    simulated: root.simulated === true,
    models: readModels(root.models),
    limits: {
      messageBytes: positive(limits.message_bytes, 65_536),
      transcriptBytes: positive(limits.transcript_bytes, 1_048_576),
      requests: positive(limits.requests, 64),
      readers: positive(limits.readers, 8),
      queuedMessages: positive(limits.queued_messages, 8),
    },
    features: {
      reasoning: features.reasoning !== false,
      clientSystemPrompt: features.client_system_prompt === true,
    },
  };
}

/** Request timeout; after it, the gateway counts as unreachable. */
const PATIENCE_MS = 8_000;

/** Default pause if a draining gateway sends no `Retry-After`. */
const RETRY_AFTER_S = 5;

const ask = (path: string): Promise<Response> =>
  fetch(path, {
    headers: { accept: "application/json" },
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE_MS),
  });

/** A 503 of our gateway that accepts no sockets; a proxy's 503 only means that no gateway was reachable. */
async function isDraining(response: Response): Promise<boolean> {
  if (response.status !== 503) return false;
  const body: unknown = await response.json().catch(() => null);
  return fields(body).code === "draining";
}

/** Sets the cookie that identifies the owner of the chats, so it is requested before the socket is opened. */
export async function fetchConfig(): Promise<PageConfig> {
  const response = await ask("/api/config");
  if (response.ok) return readConfig(await response.json());
  if (await isDraining(response)) {
    throw new NotNow(1_000 * positive(Number(response.headers.get("retry-after")), RETRY_AFTER_S));
  }
  throw new Error(`status ${response.status}`);
}

export interface Remembered {
  /** By the gateway's ids. */
  answers: Map<string, { text: string; incomplete: boolean; isWriting: boolean }>;
}

/** The gateway's transcript of a chat; null if there is none. Throws if it cannot be requested. */
export async function fetchTranscript(chat: string): Promise<Remembered | null> {
  const response = await ask(`/api/chats/${encodeURIComponent(chat)}`);
  if (response.status === 404) return null;
  if (!response.ok) throw new Error(`status ${response.status}`);
  const answers: Remembered["answers"] = new Map();
  const { messages } = fields(await response.json());
  for (const entry of Array.isArray(messages) ? messages : []) {
    const message = fields(entry);
    const part = fields(Array.isArray(message.parts) ? message.parts[0] : undefined);
    if (message.role !== "assistant" || typeof message.id !== "string" || typeof part.text !== "string")
      continue;
    answers.set(message.id, {
      text: part.text,
      incomplete: fields(message.metadata).incomplete === true,
      isWriting: part.state === "streaming",
    });
  }
  return { answers };
}
