/** The store with its real parts: this browser, this gateway. */
import { headOf, readConversation } from "../chat/check";
import type { PageConfig } from "../chat/contract";
import { perFrame } from "../chat/flush";
import { newId } from "../chat/ids";
import { keepOperator } from "../chat/operator";
import { fetchConfig, fetchTranscript } from "../chat/page-config";
import { createChatStore } from "../chat/store";
import { listen } from "../connection/browser-signals";
import type { BrowserSignals } from "../connection/link";
import type { Wire } from "../connection/socket";
import { createLink } from "../connection/turnover";
import { openDrafts } from "../storage/drafts";
import { openTailStore } from "../storage/tail-store";
import { openVault } from "../storage/vault";

const address = (): string => {
  const { protocol, host } = window.location;
  return `${protocol === "https:" ? "wss:" : "ws:"}//${host}/api/chat`;
};

/** Pause between questions for the offer of a gateway without models; it asks its model services as often. */
const NO_MODELS_MS = 5_000;

export function makeStore() {
  let config: Promise<PageConfig> | undefined;
  // Requested once; after a failure again with the next attempt.
  const ask = (isAnew: boolean) => {
    if (isAnew) config = undefined;
    config ??= fetchConfig().catch((error: unknown) => {
      config = undefined;
      throw error;
    });
    return config;
  };
  let signals: BrowserSignals | undefined;
  const store = createChatStore({
    link: (events) => {
      const link = createLink(
        {
          open: () => new WebSocket(address()) as Wire,
          prepare: async (isAnew) => {
            const config = await ask(isAnew);
            if (store.getState().config !== config) setConfig(config);
          },
          random: Math.random,
          now: Date.now,
          clock: () => performance.now(),
          isOnline: () => navigator.onLine,
        },
        events,
      );
      signals = link;
      return link;
    },
    vault: (setConfig) => openVault("tidegate", { conversation: readConversation, head: headOf }, setConfig),
    drafts: openDrafts(),
    tails: openTailStore(),
    transcript: fetchTranscript,
    renewOffer: () => renewOffer(),
    perFrame,
    now: Date.now,
    newId,
    tabs: "tidegate",
  });
  const setConfig = (config: PageConfig) => {
    store.setState({ config, operator: config.operator });
    keepOperator(config.operator);
  };
  const renewOffer = () => void fetchConfig().then(setConfig, () => {});
  // While there is no model, until there is one.
  setInterval(() => {
    if (store.getState().config?.models.length === 0 && document.visibilityState === "visible") renewOffer();
  }, NO_MODELS_MS);
  // After a loss it may be another gateway, or a newer page: requested again in the background.
  let isFirst = true;
  store.subscribe((state, before) => {
    if (state.link.kind !== "live" || before.link.kind === "live") return;
    if (!isFirst) {
      renewOffer();
    }
    isFirst = false;
  });
  if (signals) listen(signals, Math.random);
  window.addEventListener("pagehide", () => store.flush());
  // A phone may end a hidden page without further events.
  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") store.flush();
  });
  return store;
}
