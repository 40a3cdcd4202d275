/** The page: list, conversation, notices and dialogs, and their connections. */
import { useCallback, useEffect, useState } from "react";
import type { StoreApi } from "zustand";
import type { ChatStore } from "../chat/contract";
import { isAnswering } from "../chat/model";
import { OWN_NAME } from "../chat/operator";
import { ChatProvider, useActions, useChat, useChatStore } from "../chat/use-chat";
import { useEscapeCover, useEscapePage } from "../components/escape";
import { useMedia } from "../components/use-media";
import { Sidebar } from "../features/sessions/sidebar";
import { SettingsDialog } from "../features/settings/settings-dialog";
import { ShortcutsDialog } from "../features/settings/shortcuts-dialog";
import { Announcer } from "../features/status/announcer";
import { ConnectionBanner } from "../features/status/connection";
import { StorageNote, UndoToast, VersionNote } from "../features/status/notes";
import { Thread } from "../features/thread/thread";
import { TextProvider, useText } from "../i18n/use-text";
import css from "./app.module.css";
import { Header } from "./header";
import { useLanguage, useTheme } from "./use-look";
import { usePlace } from "./use-place";
import { useShortcuts } from "./use-shortcuts";

const NARROW = "(max-width: 48rem)";
const isNarrow = () => window.matchMedia(NARROW).matches;
const focusOn = (id: string) => document.getElementById(id)?.focus();

function Shell() {
  const { words } = useText();
  const store = useChatStore();
  const actions = useActions();
  const conversation = useChat((state) => state.current);
  const title = useChat((state) => state.open[state.current ?? ""]?.title ?? "");
  const site = useChat((state) => state.operator.title) || OWN_NAME;
  const isBegun = useChat((state) => state.heads.some(({ id }) => id === state.current));
  const { go } = usePlace(store);
  const [isSideOpen, setIsSideOpen] = useState(() => !isNarrow());
  // On a phone the list covers everything, and what is beneath must not be reachable.
  const isCovered = useMedia(NARROW) && isSideOpen;
  const [dialog, setDialog] = useState<"settings" | "shortcuts" | null>(null);
  const [target, setTarget] = useState<string | null>(null);

  useEffect(() => {
    document.title = title === "" ? site : `${title} · ${site}`;
  }, [title, site]);
  useEffect(() => {
    if (isBegun) go(conversation);
  }, [go, isBegun, conversation]);
  useEffect(() => {
    // The shown conversation was removed.
    if (conversation === null && store.getState().ready) {
      go(null);
      actions.newConversation();
    }
  }, [store, actions, go, conversation]);

  const settle = useCallback(() => {
    if (isNarrow()) setIsSideOpen(false);
  }, []);
  const newChat = useCallback(() => {
    go(null);
    setTarget(null);
    actions.newConversation();
    settle();
    focusOn("composer");
    // Again when the list is closed, if it covered the composer.
    requestAnimationFrame(() => focusOn("composer"));
  }, [actions, go, settle]);
  const open = useCallback(
    (id: string, message: string | null = null) => {
      setTarget(message);
      void actions.openConversation(id);
      settle();
    },
    [actions, settle],
  );
  useShortcuts({
    newChat,
    search: () => {
      setIsSideOpen(true);
      requestAnimationFrame(() => focusOn("search"));
    },
    sidebar: () => setIsSideOpen((was) => !was),
    sheet: () => setDialog("shortcuts"),
    focus: () => focusOn("composer"),
  });
  useEscapeCover(isCovered, settle);
  useEscapePage(() => {
    if (conversation === null || !isAnswering(store.getState().open[conversation])) return false;
    actions.stop(conversation);
    return true;
  });

  return (
    <>
      <button type="button" className={css.skip} onClick={() => focusOn("composer")}>
        {words.skip}
      </button>
      <div className={css.shell} data-side={isSideOpen ? "open" : "closed"}>
        <aside className={css.side} hidden={!isSideOpen} aria-label={words.conversations}>
          <Sidebar onOpen={open} onNew={newChat} />
        </aside>
        {isSideOpen && (
          <button
            type="button"
            className={css.shade}
            aria-label={words.closeMenu}
            tabIndex={-1}
            onClick={settle}
          />
        )}
        <main className={css.main} inert={isCovered}>
          <Header
            conversation={conversation ?? ""}
            isSideOpen={isSideOpen}
            onSide={() => setIsSideOpen(!isSideOpen)}
            onNew={newChat}
            onSettings={() => setDialog("settings")}
            onShortcuts={() => setDialog("shortcuts")}
          />
          <ConnectionBanner />
          <StorageNote />
          <VersionNote />
          {conversation !== null && (
            <>
              <Thread conversation={conversation} target={target} />
              <Announcer conversation={conversation} />
            </>
          )}
        </main>
      </div>
      <UndoToast />
      {dialog === "settings" && conversation !== null && (
        <SettingsDialog conversation={conversation} onClose={() => setDialog(null)} />
      )}
      {dialog === "shortcuts" && <ShortcutsDialog onClose={() => setDialog(null)} />}
    </>
  );
}

function Look() {
  const settings = useChat((state) => state.settings);
  useTheme(settings.theme);
  const language = useLanguage(settings.language);
  return (
    <TextProvider language={language}>
      <Shell />
    </TextProvider>
  );
}

export function App({ store }: { store: StoreApi<ChatStore> }) {
  return (
    <ChatProvider store={store}>
      <Look />
    </ChatProvider>
  );
}
