/** Tells other tabs of this browser what changed. A tab without BroadcastChannel is alone, and works. */
export type News =
  /** Stored anew: whoever has it open reads it again, and follows what is being written. */
  { kind: "conversation"; id: string } | { kind: "list" } | { kind: "settings" };

export interface Tabs {
  tell(news: News): void;
  close(): void;
}

export function joinTabs(name: string, hear: (news: News) => void): Tabs {
  if (typeof BroadcastChannel === "undefined") return { tell: () => undefined, close: () => undefined };
  const channel = new BroadcastChannel(name);
  channel.onmessage = ({ data }: MessageEvent<unknown>) => {
    const { kind, id } = (data ?? {}) as { kind?: unknown; id?: unknown };
    if (kind === "conversation" && typeof id === "string") hear({ kind, id });
    else if (kind === "list" || kind === "settings") hear({ kind });
  };
  let isOpen = true;
  return {
    tell: (news) => {
      // What is still being stored when the page goes has nobody to be told by.
      if (isOpen) channel.postMessage(news);
    },
    close: () => {
      isOpen = false;
      channel.close();
    },
  };
}
