/** Which requests are open on a socket, as the frames that pass there tell. */
import type { ClientFrame, ServerFrame } from "../protocol/frames";

export class OpenRequests {
  /** The chat of each. */
  private readonly chats = new Map<string, string>();

  get isEmpty(): boolean {
    return this.chats.size === 0;
  }

  has(request: string): boolean {
    return this.chats.has(request);
  }

  /** Something of this chat is under way here. */
  carries(chat: string): boolean {
    for (const open of this.chats.values()) if (open === chat) return true;
    return false;
  }

  sent(frame: ClientFrame): void {
    if (frame.type === "send" || frame.type === "resume") this.chats.set(frame.requestId, frame.id);
    // Nobody waits for it any more, and of a question that waited nothing more is said.
    else if (frame.type === "abort") this.chats.delete(frame.requestId);
  }

  got(frame: ServerFrame): void {
    if (frame.type === "end" || frame.type === "error" || frame.type === "no-active")
      this.chats.delete(frame.requestId);
  }

  /** The socket is gone: those that were open. */
  clear(): string[] {
    const requests = [...this.chats.keys()];
    this.chats.clear();
    return requests;
  }
}
