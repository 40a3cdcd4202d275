/** The requests that are open on a socket, derived from its frames. */
import type { ClientFrame, ServerFrame } from "../protocol/frames";

export class OpenRequests {
  /** Chat id by request. */
  private readonly chats = new Map<string, string>();

  get isEmpty(): boolean {
    return this.chats.size === 0;
  }

  has(request: string): boolean {
    return this.chats.has(request);
  }

  /** Whether a request of this chat is open here. */
  carries(chat: string): boolean {
    for (const open of this.chats.values()) if (open === chat) return true;
    return false;
  }

  sent(frame: ClientFrame): void {
    if (frame.type === "send" || frame.type === "resume") this.chats.set(frame.requestId, frame.id);
    // No reply is expected after an abort, also for a queued question.
    else if (frame.type === "abort") this.chats.delete(frame.requestId);
  }

  got(frame: ServerFrame): void {
    if (frame.type === "end" || frame.type === "error" || frame.type === "no-active")
      this.chats.delete(frame.requestId);
  }

  /** Clears and returns the open requests of a closed socket. */
  clear(): string[] {
    const requests = [...this.chats.keys()];
    this.chats.clear();
    return requests;
  }
}
