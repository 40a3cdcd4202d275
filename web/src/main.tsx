/** Starts the page. */
import { createRoot } from "react-dom/client";
import "./app/app.css";
import "./app/print.css";
import { App } from "./app/app";
import { makeStore } from "./app/make-store";
import { reloadOnce } from "./app/new-version";
import { keepOffline } from "./app/offline";

const store = makeStore();
reloadOnce(store);
if (import.meta.env.PROD) keepOffline(store);
const root = document.getElementById("root");
if (root) createRoot(root).render(<App store={store} />);
