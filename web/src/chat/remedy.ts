/** The action offered for a failed answer: at most one, and only if it can help. */
import type { Fault } from "../protocol/frames";

export type Remedy =
  /** Retry unchanged. */
  | "retry"
  /** The message has to be edited first. */
  | "edit"
  /** Only the operator or the client's developer can act: show only the message. */
  | "none";

/** By code; complete for docs/PROTOCOL.md. */
export const REMEDIES: Readonly<Record<string, Remedy>> = {
  not_set_up: "none",
  not_available: "none",
  // The page then falls to the default model.
  model_not_found: "retry",
  input_too_long: "edit",
  bad_request: "none",
  input_refused: "edit",
  output_refused: "edit",
  rate_limited: "retry",
  upstream_error: "retry",
  upstream_unreachable: "retry",
  upstream_down: "retry",
  upstream_tls: "none",
  upstream_protocol: "retry",
  upstream_timeout: "retry",
  interrupted: "retry",
  answer_too_long: "edit",
  tools_not_supported: "edit",
  empty_answer: "retry",
  overloaded: "retry",
  queue_timeout: "retry",
  draining: "retry",
  // Does not occur in this page, which shows "stopped".
  cancelled: "retry",
  internal: "retry",

  empty_message: "edit",
  message_too_long: "edit",
  binary_message: "none",
  queue_full: "retry",
  malformed: "none",
  bad_id: "none",
  unsupported_part: "none",
  bad_parameter: "retry",
  // The next request has another id and requests the answer from its beginning.
  duplicate_request: "retry",
  bad_resume: "retry",
  too_many_requests: "retry",
  too_often: "retry",
  taken_over: "retry",
  unavailable: "retry",
  too_many_chats: "retry",
};

/** An unknown code of a newer gateway: `retryable` decides. */
export function remedyOf(fault: Fault | undefined): Remedy {
  if (!fault) return "retry";
  return Object.hasOwn(REMEDIES, fault.code)
    ? (REMEDIES[fault.code] as Remedy)
    : fault.retryable
      ? "retry"
      : "none";
}
