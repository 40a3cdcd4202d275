/** Tells other tabs of this browser what changed. A tab without BroadcastChannel is alone, and works. */
export type TabMessage =
  /** Stored anew: whoever has it open reads it again, and follows what is being written. */
  { kind: "conversation"; id: string } | { kind: "list" } | { kind: "settings" };

export interface Tabs {
  post(message: TabMessage): void;
  close(): void;
}

export function joinTabs(name: string, onMessage: (message: TabMessage) => void): Tabs {
  if (typeof BroadcastChannel === "undefined") return { post: () => undefined, close: () => undefined };
  const channel = new BroadcastChannel(name);
  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    const { kind, id } = (data ?? {}) as { kind?: unknown; id?: unknown };
    if (kind === "conversation" && typeof id === "string") onMessage({ kind, id });
    else if (kind === "list" || kind === "settings") onMessage({ kind });
  };
  let isOpen = true;
  return {
    post: (message) => {
      // What is still being stored when the page goes has nobody to be told by.
      if (isOpen) channel.postMessage(message);
    },
    close: () => {
      isOpen = false;
      channel.close();
    },
  };
}
