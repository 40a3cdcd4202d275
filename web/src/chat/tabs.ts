/** Notifies other tabs of this browser of changes. Without BroadcastChannel, a tab works alone. */
export type TabMessage =
  /** Stored again: tabs that have it open read it again and follow its running answers. */
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
      // Saves that complete after the page was closed are not posted.
      if (isOpen) channel.postMessage(message);
    },
    close: () => {
      isOpen = false;
      channel.close();
    },
  };
}
